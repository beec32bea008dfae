/**
 * A recorded conversation: the events of a session, each as one line of JSON, encoded by their Schema. It runs in a
 * browser too; files are the matter of `RecordingFile`.
 */
import { Either, Schema } from "effect"
import { SessionEvent } from "effect-meantime/SessionEvent"

const Line = Schema.parseJson(SessionEvent)
const encodeLine = Schema.encodeSync(Line)
const decodeLine = Schema.decodeUnknownEither(Line)

/** A line is no event. */
export class BadRecording extends Schema.TaggedError<BadRecording>()("BadRecording", {
  line: Schema.Number,
  reason: Schema.String
}) {
  override get message(): string {
    return `Line ${this.line} is no event of a session: ${this.reason}`
  }
}

export const encode = (event: SessionEvent): string => `${encodeLine(event)}\n`

/** Reads a whole recording. */
export const decode = (text: string): Either.Either<ReadonlyArray<SessionEvent>, BadRecording> => {
  const events: Array<SessionEvent> = []
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue
    const event = decodeLine(line)
    if (Either.isLeft(event)) {
      return Either.left(
        new BadRecording({ line: index + 1, reason: (event.left.message.split("\n").at(-1) ?? "").trim() })
      )
    }
    events.push(event.right)
  }
  return Either.right(events)
}
