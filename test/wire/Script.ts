/**
 * What a local server answers, in words that fit every provider: pieces of an answer in their order, or a fault. The
 * servers turn it into the events of their provider.
 */
import { Data, type Effect } from "effect"

/** One piece of an answer. */
export type Piece =
  | { readonly _tag: "Text"; readonly deltas: ReadonlyArray<string> }
  | {
      readonly _tag: "Reasoning"
      readonly deltas: ReadonlyArray<string>
      /** Anthropic: the block is a `redacted_thinking` one; OpenAI: there is no summary */
      readonly hidden: boolean
    }
  | {
      readonly _tag: "Call"
      readonly name: string
      /** the text of the arguments, as it is sent */
      readonly json: string
      readonly id: string | undefined
    }
  /** an `error` event in the middle of the stream */
  | { readonly _tag: "ErrorEvent"; readonly type: string; readonly message: string }
  /** the connection breaks here */
  | { readonly _tag: "Drop" }
  /** the response ends here in good order, although the answer has not */
  | { readonly _tag: "Cut" }
  /** nothing more comes, and the connection stays open until the client leaves or the server closes */
  | { readonly _tag: "Stall" }
  /** an event as it stands */
  | { readonly _tag: "Event"; readonly data: unknown }

/** A response that is no stream. */
export class HttpError extends Data.TaggedClass("HttpError")<{
  readonly status: number
  readonly message: string
  readonly headers: Record<string, string>
}> {}

/** A body as it stands: a recorded one. */
export class Raw extends Data.TaggedClass("Raw")<{ readonly body: string }> {}

export type Answer = string | Piece | ReadonlyArray<string | Piece> | HttpError | Raw

/** A request, decoded. */
export interface Request {
  /** 0 for the first one that reaches the script */
  readonly index: number
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: any
}

/** What a server answers: one answer after another, or a function that answers all requests. */
export type Script =
  | ReadonlyArray<Answer | ((request: Request) => Answer | Effect.Effect<Answer>)>
  | ((request: Request) => Answer | Effect.Effect<Answer>)

/** Words, as a model streams them. */
const words = (text: string): ReadonlyArray<string> => text.match(/\s*\S+|\s+$/g) ?? []

export const text = (value: string | ReadonlyArray<string>): Piece => ({
  _tag: "Text",
  deltas: typeof value === "string" ? words(value) : value
})

export const reasoning = (value: string | ReadonlyArray<string>): Piece => ({
  _tag: "Reasoning",
  deltas: typeof value === "string" ? words(value) : value,
  hidden: false
})

/** Reasoning of which only the encrypted form is sent. */
export const hiddenReasoning: Piece = { _tag: "Reasoning", deltas: [], hidden: true }

export const call = (name: string, args: unknown = {}, id?: string): Piece => ({
  _tag: "Call",
  name,
  json: JSON.stringify(args),
  id
})

/** A call whose arguments are this text, JSON or not. */
export const rawCall = (name: string, json: string, id?: string): Piece => ({ _tag: "Call", name, json, id })

export const errorEvent = (type: string, message: string): Piece => ({ _tag: "ErrorEvent", type, message })
export const drop: Piece = { _tag: "Drop" }
export const cut: Piece = { _tag: "Cut" }
export const stall: Piece = { _tag: "Stall" }
export const event = (data: unknown): Piece => ({ _tag: "Event", data })

export const httpError = (status: number, message: string, headers: Record<string, string> = {}): HttpError =>
  new HttpError({ status, message, headers })

export const raw = (body: string): Raw => new Raw({ body })

export const piecesOf = (answer: string | Piece | ReadonlyArray<string | Piece>): ReadonlyArray<Piece> =>
  (Array.isArray(answer) ? (answer as ReadonlyArray<string | Piece>) : [answer as string | Piece]).map((piece) =>
    typeof piece === "string" ? text(piece) : piece
  )
