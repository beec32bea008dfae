/**
 * What passes through the streams of an HTTP server, as far as the client's package does not tell it: whose stream a question
 * came on, and which calls were on a stream that ended before their answer.
 */

/** Who is told what comes. */
export interface Watcher {
  /** a line of the stream that says something of a message */
  readonly line: (field: "id" | "data", value: string) => void
  /** the stream is over, or was cut */
  readonly end: () => void
}

const fields = /^(id|data):\s?(.*)$/

/** A body that is handed on as it comes; the watcher sees each line before the reader does. */
export const watched = (body: ReadableStream<Uint8Array>, watcher: Watcher): ReadableStream<Uint8Array> => {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ""
  const read = (text: string): void => {
    const lines = (rest + text).split(/\r?\n/)
    rest = lines.pop() ?? ""
    for (const line of lines) {
      const [, field, value = ""] = fields.exec(line) ?? []
      if (field === "id" || field === "data") watcher.line(field, value)
    }
  }
  return new ReadableStream({
    pull: async (controller) => {
      try {
        const { done, value } = await reader.read()
        if (done) {
          watcher.end()
          controller.close()
        } else {
          read(decoder.decode(value, { stream: true }))
          controller.enqueue(value)
        }
      } catch (error) {
        watcher.end()
        controller.error(error)
      }
    },
    cancel: (reason) => reader.cancel(reason)
  })
}

/** A message on a stream, if the text is one. */
export const messageIn = (text: string): Readonly<Record<string, unknown>> | undefined => {
  try {
    const message: unknown = JSON.parse(text)
    return typeof message === "object" && message !== null ? (message as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
