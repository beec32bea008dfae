/**
 * Two voices. Both are programs of their own, from Debian's packages: `espeak-ng` speaks for the agent, as a synthesizer
 * whose sound comes while it is made, and `flite` for the user of the rehearsal.
 */
import { spawn } from "node:child_process"
import { Chunk, Effect, Option, Stream } from "effect"
import * as Voice from "effect-meantime/voice"
import * as Sound from "./Sound.js"

/** 20 milliseconds at espeak's rate. */
const frameLength = 441

/** What a program writes, as it writes it. It gets the text on its standard input, and ends with the stream. */
const running = (
  command: string,
  args: ReadonlyArray<string>,
  input: string
): Stream.Stream<Buffer, Voice.VoiceError> =>
  Stream.asyncScoped<Buffer, Voice.VoiceError>((emit) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] })
        let complaint = ""
        const failed = (cause: unknown) =>
          void emit.fail(new Voice.VoiceError({ message: `${command} failed. ${complaint}`.trim(), cause }))
        child.stderr.on("data", (data) => {
          complaint += String(data)
        })
        child.stdout.on("data", (data: Buffer) => void emit.single(data))
        child.on("error", failed)
        child.on("close", (code) => {
          if (code === 0) void emit.end()
          else failed(code)
        })
        child.stdin.on("error", () => {})
        child.stdin.end(input)
        return child
      }),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
  )

/** The frames in what has come of a WAV file so far; half a frame waits for the rest of it. */
const framesOf = (
  bytes: Stream.Stream<Buffer, Voice.VoiceError>
): Stream.Stream<Voice.AudioFrame, Voice.VoiceError> => {
  let rest: Buffer = Buffer.alloc(0)
  let rate: number | undefined
  const take = (whole: boolean): ReadonlyArray<Voice.AudioFrame> => {
    if (rate === undefined) {
      const head = Sound.headOf(rest)
      if (head === undefined) return []
      rate = head.rate
      rest = rest.subarray(head.at)
    }
    const frames: Array<Voice.AudioFrame> = []
    const size = frameLength * 2
    while (rest.length >= size || (whole && rest.length >= 2)) {
      frames.push({ samples: Sound.samplesOf(rest.subarray(0, size)), sampleRate: rate })
      rest = rest.subarray(size)
    }
    return frames
  }
  return Stream.concat(
    Stream.mapConcat(bytes, (data) => {
      rest = Buffer.concat([rest, data])
      return take(false)
    }),
    Stream.suspend(() => Stream.fromIterable(take(true)))
  )
}

/** The agent's voice. */
export const espeak: Voice.Synthesizer = {
  synthesize: (text) =>
    Stream.suspend(() => framesOf(running("espeak-ng", ["-v", "en-us", "-s", "165", "--stdout"], text)))
}

/** What the user says, at the rate of the ear. */
export const flite = (text: string): Effect.Effect<Int16Array, Voice.VoiceError> =>
  // it can write to a pipe, but what Node gives it is a socket
  running("sh", ["-c", 'flite -voice slt -t "$1" -o /dev/stdout | cat', "sh", text], "").pipe(
    Stream.runCollect,
    Effect.map((chunks) => {
      const { rate, samples } = Sound.readWav(Buffer.concat(Chunk.toReadonlyArray(chunks)))
      return Sound.trimmed(Sound.resample(samples, rate, Sound.earRate))
    })
  )

/** Which of the programs are missing. */
export const missing = (...commands: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.filter(commands, (command) =>
    Effect.map(Effect.option(Stream.runDrain(running("sh", ["-c", `command -v ${command}`], ""))), Option.isNone)
  )
