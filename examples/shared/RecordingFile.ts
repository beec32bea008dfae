/**
 * Recordings in files.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import type { AgentSession } from "effect-meantime"
 * import * as RecordingFile from "./RecordingFile.js"
 *
 * // records until the session is closed
 * const record = (session: AgentSession.Service) =>
 *   Effect.forkScoped(RecordingFile.write(session.events, "conversation.jsonl"))
 * ```
 */
import { type Error, FileSystem } from "@effect/platform"
import { Effect, Stream } from "effect"
import type { SessionEvent } from "effect-meantime"
import * as Recording from "./Recording.js"

/** Writes the events to a file until they end, each as it comes. What was in the file is overwritten. */
export const write = <E, R>(
  events: Stream.Stream<SessionEvent.SessionEvent, E, R>,
  path: string
): Effect.Effect<void, E | Error.PlatformError, R | FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) =>
    events.pipe(Stream.map(Recording.encode), Stream.encodeText, Stream.run(fs.sink(path, { flag: "w" })))
  )

export const read = (
  path: string
): Effect.Effect<
  ReadonlyArray<SessionEvent.SessionEvent>,
  Recording.BadRecording | Error.PlatformError,
  FileSystem.FileSystem
> =>
  FileSystem.FileSystem.pipe(
    Effect.flatMap((fs) => fs.readFileString(path)),
    Effect.flatMap(Recording.decode)
  )
