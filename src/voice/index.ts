/**
 * Conversations by voice: an output for speech that is heard, and the user's turns from what was heard of them. What
 * makes sound and understands it is the program's.
 *
 * @since 0.1.0
 */
export { type AudioFrame, type AudioSink, type Heard, type Recogniser, type Synthesizer, VoiceError } from "./Audio.js"
export { type BargeIn, type Endpoint, type ListenOptions, listen } from "./listen.js"
export { type OutputOptions, output } from "./output.js"
export { type Sentence, sentences } from "./sentences.js"
