/**
 * The conversation on the server, as it is now: one stream of server-sent events, folded. The browser asks again by
 * itself where the connection is lost, and says which event it had last.
 */
import { Either, Schema } from "effect"
import { useEffect, useSyncExternalStore } from "react"
import * as View from "../../shared/View.js"
import * as Protocol from "../Protocol.js"

export interface Live {
  readonly hello: Protocol.Hello | undefined
  readonly view: View.View
  readonly saying: Protocol.Saying | null
  readonly unheard: ReadonlyArray<Protocol.Unheard>
  readonly cancellable: ReadonlyArray<string>
  readonly approvals: ReadonlyArray<Protocol.Waiting>
  readonly connected: boolean
  /** the time of the conversation at a time of this page */
  readonly clock: { readonly now: number; readonly at: number; readonly rate: number }
}

let live: Live = {
  hello: undefined,
  view: View.empty,
  saying: null,
  unheard: [],
  cancellable: [],
  approvals: [],
  connected: false,
  clock: { now: 0, at: 0, rate: 1 }
}
const listeners = new Set<() => void>()

// Whatever came since the last frame is shown at once: after a reload that is the whole conversation.
let waiting = false
const change = (next: Partial<Live>): void => {
  live = { ...live, ...next }
  if (waiting) return
  waiting = true
  setTimeout(() => {
    waiting = false
    for (const listener of listeners) listener()
  }, 16)
}

const decode = {
  hello: Schema.decodeUnknownEither(Protocol.frames.hello),
  happened: Schema.decodeUnknownEither(Protocol.frames.happened),
  status: Schema.decodeUnknownEither(Protocol.frames.status)
}

const connect = (): (() => void) => {
  const source = new EventSource("/api/events")
  const on = <A>(
    name: string,
    decode: (data: unknown) => Either.Either<A, { readonly message: string }>,
    f: (a: A) => void
  ) =>
    source.addEventListener(name, ({ data }: MessageEvent<unknown>) => {
      const frame = decode(data)
      if (Either.isRight(frame)) f(frame.right)
      else console.error(`A ${name} frame cannot be read: ${frame.left.message}`)
    })
  const clock = (now: number) => ({ now, at: performance.now(), rate: live.hello?.rate ?? 1 })
  on("hello", decode.hello, (hello) => {
    change({
      hello,
      connected: true,
      clock: { now: hello.now, at: performance.now(), rate: hello.rate },
      ...(hello.resumed ? {} : { view: View.empty, saying: null, unheard: [], cancellable: [], approvals: [] })
    })
  })
  on("happened", decode.happened, (event) => change({ view: View.step(live.view, event) }))
  on("status", decode.status, ({ approvals, cancellable, now, saying, unheard }) =>
    change({ approvals, cancellable, saying, unheard, clock: clock(now) })
  )
  source.addEventListener("error", () => change({ connected: false }))
  return () => source.close()
}

export const useLive = (): Live => {
  useEffect(connect, [])
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => live
  )
}

/** The time of the conversation now. */
export const timeOf = ({ clock }: Live): number => clock.now + (performance.now() - clock.at) * clock.rate

// --- requests -------------------------------------------------------------------------------------------------------

const decodeRefusal = Schema.decodeUnknownEither(Protocol.Refusal)

/** What the server takes. It checks it, too: what it refuses comes back as words for the user. */
interface Requests {
  readonly "/api/say": typeof Protocol.Say.Encoded
  readonly "/api/speak": typeof Protocol.Speak.Encoded
  readonly "/api/hush": typeof Protocol.Hush.Encoded
  readonly "/api/cancel": typeof Protocol.Cancel.Encoded
  readonly "/api/approve": typeof Protocol.Approve.Encoded
  readonly "/api/deny": typeof Protocol.Deny.Encoded
  readonly "/api/tell": typeof Protocol.Tell.Encoded
  readonly "/api/start": typeof Protocol.Start.Encoded
}

/** Resolves to what the server has against it, if it has something. */
const post = async <Path extends keyof Requests>(path: Path, body: Requests[Path]): Promise<string | undefined> => {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body)
    })
    if (response.ok) return undefined
    const refusal = decodeRefusal(await response.json())
    return Either.isRight(refusal) ? refusal.right.message : `The server answered with ${response.status}.`
  } catch {
    return "The server does not answer."
  }
}

/** What the server has told of the conversation. What one asks for before that waits for it. */
const greeted = (): Promise<Protocol.Hello> =>
  new Promise((resolve) => {
    const read = () => {
      if (live.hello === undefined) return
      listeners.delete(read)
      resolve(live.hello)
    }
    listeners.add(read)
    read()
  })

// What the user does with the floor arrives in the order in which it was done.
let before: Promise<unknown> = Promise.resolve()
const inOrder = <A>(request: () => Promise<A>): Promise<A> => {
  const done = before.then(request)
  before = done
  return done
}

/** what is typed and not under way yet; what ends the turn takes it back */
let typed: { text: string; waits: boolean } | undefined
const takeBack = () => {
  if (typed !== undefined) typed.waits = false
  typed = undefined
}

/** Ends the turn that the user is speaking, if there is one. */
export const say = async (text: string) => {
  takeBack()
  const { conversation } = await greeted()
  return inOrder(() => post("/api/say", { conversation, text }))
}
/** The floor is the user's, and this is typed so far. Of what is typed while the server is told, the newest counts. */
export const speak = async (text: string): Promise<void> => {
  if (typed !== undefined) {
    typed.text = text
    return
  }
  const mine = { text, waits: true }
  typed = mine
  const { conversation } = await greeted()
  await inOrder(async () => {
    if (!mine.waits) return
    takeBack()
    await post("/api/speak", { conversation, text: mine.text })
  })
}
/** Nothing is said after all. */
export const hush = async (): Promise<void> => {
  takeBack()
  const { conversation } = await greeted()
  await inOrder(() => post("/api/hush", { conversation }))
}

export const cancel = async (callId: string) =>
  post("/api/cancel", { conversation: (await greeted()).conversation, callId })
/** It runs as it is, or with other arguments. */
export const approve = async (callId: string, args?: unknown) =>
  post("/api/approve", {
    conversation: (await greeted()).conversation,
    callId,
    ...(args === undefined ? {} : { arguments: args })
  })
export const deny = async (callId: string, reason: string) =>
  post("/api/deny", {
    conversation: (await greeted()).conversation,
    callId,
    ...(reason.trim() === "" ? {} : { reason: reason.trim() })
  })
export const tell = async (callId: string, text: string) =>
  post("/api/tell", { conversation: (await greeted()).conversation, callId, text })
/** Begins a new conversation; by default with the same agent. */
export const start = async (agent?: string) => post("/api/start", { agent: agent ?? (await greeted()).agent })
