/**
 * A voice detector: TEN VAD, as WebAssembly. It says of 16 milliseconds at a time whether there is a voice in them.
 */
import loadDetector from "@gooney-001/ten-vad-lib"
import { Effect, type Scope } from "effect"
import { VoiceError } from "effect-meantime/voice"

/** Samples at 16,000 a second. */
export const frameLength = 256

export interface Detector {
  readonly hears: (samples: Int16Array) => boolean
}

export const make: Effect.Effect<Detector, VoiceError, Scope.Scope> = Effect.gen(function* () {
  const vad = yield* Effect.tryPromise({
    try: () => loadDetector(),
    catch: (cause) => new VoiceError({ message: "The voice detector could not be loaded.", cause })
  })
  const allocated = (bytes: number) =>
    Effect.acquireRelease(
      Effect.sync(() => vad._malloc(bytes)),
      (at) => Effect.sync(() => vad._free(at))
    )
  const pointer = yield* allocated(4)
  const samples = yield* allocated(frameLength * 2)
  const probability = yield* allocated(4)
  const flag = yield* allocated(4)
  yield* Effect.acquireRelease(
    Effect.suspend(() =>
      vad._ten_vad_create(pointer, frameLength, 0.5) === 0
        ? Effect.void
        : new VoiceError({ message: "The voice detector does not start." })
    ),
    () => Effect.sync(() => vad._ten_vad_destroy(pointer))
  )
  return {
    hears: (frame) => {
      vad.HEAP16.set(frame, samples >> 1)
      const handle = vad.HEAP32[pointer >> 2] as number
      return vad._ten_vad_process(handle, samples, frameLength, probability, flag) === 0 && vad.HEAP32[flag >> 2] === 1
    }
  }
})
