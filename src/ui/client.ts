/**
 * What a page with `useChat` needs beside it, for calls that go on after their message. It imports nothing, so it is for
 * any bundler.
 *
 * ```ts
 * // const chat: Chat<UIMessage> = new Chat({
 * //   onData: (part) => patchCalls(chat)(part),
 * //   sendAutomaticallyWhen: approvalsAnswered
 * // })
 * // useEffect(() => deferredReplies(chat), [chat])
 * ```
 *
 * @since 0.1.0
 */

interface Part {
  readonly type: string
}

interface Message {
  readonly id: string
  readonly role: string
  readonly parts: ReadonlyArray<Part>
}

/** A part of a call, as far as it is looked at. */
interface CallPart extends Part {
  readonly toolCallId: string
  readonly state: string
  readonly approval?: { readonly id: string }
}

const isCall = (part: Part): part is CallPart => "toolCallId" in part && "state" in part

/**
 * A chat: an instance of `Chat` of `@ai-sdk/react`, or of another one's that extends `AbstractChat` of `ai`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChatLike<M> {
  messages: Array<M>
}

const has = (part: Part, calls: (part: CallPart) => boolean): boolean => isCall(part) && calls(part)

/**
 * For `sendAutomaticallyWhen`: all that waits for a decision has one, in whichever message. The AI SDK's own looks at the
 * last message only, and the agent may have spoken since it asked.
 *
 * @since 0.1.0
 * @category combinators
 */
export const approvalsAnswered = ({ messages }: { readonly messages: ReadonlyArray<Message> }): boolean => {
  const parts = messages.flatMap((message) => (message.role === "assistant" ? message.parts : []))
  return parts.some((part) => has(part, ({ state }) => state === "approval-responded"))
}

/**
 * For `onData`: what becomes of a call that an earlier message shows comes as data, and is put into its part. Other data is
 * left alone.
 *
 * @since 0.1.0
 * @category combinators
 */
export const patchCalls =
  <M extends Message>(chat: ChatLike<M>) =>
  (data: { readonly type: string; readonly data?: unknown }): void => {
    if (data.type !== "data-call") return
    const told = data.data as Record<string, unknown> & { readonly toolCallId: string }
    const messages = chat.messages.map((message) =>
      message.parts.some((part) => has(part, ({ toolCallId }) => toolCallId === told.toolCallId))
        ? { ...message, parts: message.parts.map((part) => patched(part, told)) }
        : message
    )
    chat.messages = messages as Array<M>
  }

const patched = (part: Part, told: Record<string, unknown>): Part => {
  if (!isCall(part) || part.toolCallId !== told.toolCallId) return part
  // nothing of how it stood before is left: neither an output that was preliminary nor an error
  const { errorText: _, output: __, preliminary: ___, ...kept } = part as CallPart & Record<string, unknown>
  const { approval, toolCallId: ____, toolName: _____, ...news } = told
  return { ...kept, ...news, ...(approval === undefined ? {} : { approval }) } as CallPart
}

interface Approving<M> extends ChatLike<M> {
  readonly addToolApprovalResponse: (response: {
    readonly id: string
    readonly approved: boolean
    readonly options?: { readonly body?: object }
  }) => PromiseLike<void> | void
}

/**
 * Approves a call with other arguments. The server decodes them; if they do not fit, the page is asked again, and the
 * `descriptor` of the part's approval has the `problem`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const approveWith = async <M extends Message>(
  chat: Approving<M>,
  callId: string,
  args: unknown
): Promise<void> => {
  chat.messages = chat.messages.map((message) => ({
    ...message,
    parts: message.parts.map((part) => (isCall(part) && part.toolCallId === callId ? { ...part, input: args } : part))
  })) as Array<M>
  await chat.addToolApprovalResponse({
    id: callId,
    approved: true,
    options: { body: { edits: { [callId]: args } } }
  })
}

interface Resuming<M> extends ChatLike<M> {
  readonly resumeStream: () => Promise<void>
  readonly status: string
  readonly error?: unknown
  readonly clearError?: () => void
}

/** Milliseconds before the next request after one that failed, and at most. */
const patience = { least: 1000, most: 30_000 }

/**
 * Asks for what the agent says without being asked (results of calls in the background, above all), again and again, until
 * the function that it gives is called. A request waits at the server, so there is one at a time. A failed request is no
 * error of the chat: it is made again, after 1 to 30 seconds.
 *
 * @since 0.1.0
 * @category combinators
 */
export const deferredReplies = <M extends Message>(chat: Resuming<M>): (() => void) => {
  let stopped = false
  let stop = (): void => undefined
  const over = new Promise<void>((resolve) => {
    stop = () => {
      stopped = true
      resolve()
    }
  })
  const pause = (millis: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, millis)
      void over.then(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  const run = async (): Promise<void> => {
    let failed = 0
    while (!stopped) {
      const before = chat.error
      if (chat.status === "ready" || chat.status === "error") await chat.resumeStream()
      if (stopped) return
      // a message of nothing but data has no parts
      if (chat.messages.some(({ parts, role }) => role === "assistant" && parts.length === 0)) {
        chat.messages = chat.messages.filter(({ parts, role }) => role !== "assistant" || parts.length > 0)
      }
      if (chat.error !== undefined && chat.error !== before) {
        failed++
        chat.clearError?.()
        await pause(Math.min(patience.most, patience.least * 2 ** (failed - 1)))
      } else {
        failed = 0
        await pause(100)
      }
    }
  }
  void run()
  return stop
}
