/**
 * One connection to a server, and the calls that are in flight on it. A connection that is lost does not come back: the next
 * one is another link (`connection.ts`).
 */
import {
  Client,
  type ClientCapabilities,
  type PriorDiscovery,
  type Transport as SdkTransport,
  StreamableHTTPClientTransport
} from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import type { Transport } from "../../mcp/McpClient.js"
import { messageOf } from "../model/errors.js"
import { isRecord } from "../values/record.js"
import { forTerminal } from "../values/text.js"
import { messageIn, watched } from "./streams.js"

/** What a server wants to know from the user. */
export interface Question {
  readonly message: string
  readonly schema?: object
  readonly url?: string
}

export interface Answer {
  readonly action: "accept" | "decline" | "cancel"
  readonly content?: unknown
}

/** A call, as its link sees it. */
export interface InFlight {
  /** was any of it handed to the transport? */
  sent: boolean
  /** a server of the older protocol asks in the middle of a call */
  readonly ask: (question: Question, signal: AbortSignal) => Promise<Answer>
  /** its connection is gone */
  lost: () => void
}

/** What a link needs of whoever makes it. */
export interface LinkOptions {
  readonly server: string
  readonly transport: Transport
  readonly capabilities: ClientCapabilities
  readonly runPromise: <A, E>(effect: Effect.Effect<A, E>) => Promise<A>
  readonly warn: (message: string) => void
  /** the list of tools may have changed; none: nobody wants to know */
  readonly onListChanged: (() => void) | undefined
  /** that it is of the older protocol is known from a connection before */
  readonly prior: PriorDiscovery | undefined
}

/** More than this no timer takes: time is the caller's matter, on Effect's clock. */
export const noTimeout = 2 ** 31 - 1

const relatedTask = "io.modelcontextprotocol/related-task"

export class Link {
  /** may a new call use it? */
  isOpen = true
  readonly calls = new Set<InFlight>()
  /** by the arguments that were given to the client: it hands on the same object */
  private readonly byArguments = new WeakMap<object, InFlight>()
  private readonly byTask = new Map<string, InFlight>()
  private readonly byRequest = new Map<string | number, InFlight>()
  /** whose stream a question came on, by the question's id */
  private readonly byQuestion = new Map<string | number, InFlight>()
  /** calls whose stream was cut where it can be resumed, by the last event that came */
  private readonly cut = new Map<string, InFlight>()
  private readonly sending = new Set<Promise<unknown>>()
  /** the last that the process wrote to its standard error */
  private told = ""
  readonly client: Client
  private transport: SdkTransport | undefined

  private constructor(private readonly options: LinkOptions) {
    this.client = new Client(
      { name: "effect-meantime", version: "1" },
      {
        capabilities: options.capabilities,
        versionNegotiation: { mode: "auto", probe: { timeoutMs: 5_000 } },
        inputRequired: { autoFulfill: false },
        ...(options.onListChanged === undefined
          ? {}
          : { listChanged: { tools: { autoRefresh: false, debounceMs: 0, onChanged: options.onListChanged } } })
      }
    )
    // late progress of a call that was cancelled comes as an error, among others: what matters ends a call or the connection
    this.client.onerror = () => {}
    this.client.onclose = () => {
      this.isOpen = false
    }
    if (options.capabilities.elicitation !== undefined) {
      this.client.setRequestHandler("elicitation/create", async ({ params }, { mcpReq }) => {
        const call = this.ownerOf(mcpReq)
        if (call === undefined) {
          options.warn(
            `The MCP server "${options.server}" asked something, and no call that it can belong to: it was told "cancel".`
          )
          return { action: "cancel" }
        }
        // a value of another form is refused by the server
        return (await call.ask(questionOf(params), mcpReq.signal)) as { action: "cancel" }
      })
    }
  }

  /** Connects; what it has begun is closed if the signal comes first. */
  static async open(options: LinkOptions, signal: AbortSignal): Promise<Link> {
    const link = new Link(options)
    try {
      const transport = await link.makeTransport()
      if (signal.aborted) throw new Error("given up")
      link.transport = transport
      await link.client.connect(transport, {
        signal,
        timeout: noTimeout,
        ...(options.prior === undefined ? {} : { prior: options.prior })
      })
      return link
    } catch (error) {
      await link.client.close().catch(() => {})
      await link.transport?.close().catch(() => {})
      throw link.told === "" ? error : new Error(`${messageOf(error) ?? "It did not start."} It wrote: ${link.told}`)
    }
  }

  get isModern(): boolean {
    return this.client.getProtocolEra() === "modern"
  }

  /** The link takes no more calls; it closes once the last one has ended. */
  retire(): void {
    this.isOpen = false
    if (this.calls.size === 0) void this.close()
  }

  /** Sends what is on its way, such as cancellations, says goodbye, and closes. Never fails. */
  async close(): Promise<void> {
    this.isOpen = false
    const farewell = Effect.promise(async () => {
      await Promise.allSettled(this.sending)
      if (this.transport instanceof StreamableHTTPClientTransport) await this.transport.terminateSession()
    })
    // a server that answers nothing must not keep its connection open
    await this.options.runPromise(Effect.timeoutOption(farewell, "1 second")).catch(() => {})
    await this.client.close().catch(() => {})
  }

  begin(call: InFlight): void {
    this.calls.add(call)
  }

  end(call: InFlight): void {
    this.calls.delete(call)
    for (const map of [this.byTask, this.byRequest, this.byQuestion, this.cut] as ReadonlyArray<
      Map<unknown, InFlight>
    >) {
      for (const [key, owner] of map) if (owner === call) map.delete(key)
    }
    if (!this.isOpen && this.calls.size === 0) void this.close()
  }

  /** These arguments are of this call, and of no other. */
  own(args: object, call: InFlight): void {
    this.byArguments.set(args, call)
  }

  ownTask(taskId: string, call: InFlight): void {
    this.byTask.set(taskId, call)
  }

  /** The call that a question belongs to, if that can be told. */
  private ownerOf({ _meta, id }: { readonly id: string | number; readonly _meta?: unknown }): InFlight | undefined {
    const related = isRecord(_meta) ? _meta[relatedTask] : undefined
    if (isRecord(related)) return this.byTask.get(String(related.taskId))
    const [only] = this.calls
    return this.byQuestion.get(id) ?? (this.calls.size === 1 ? only : undefined)
  }

  private async makeTransport(): Promise<SdkTransport> {
    const { transport } = this.options
    switch (transport.type) {
      case "stdio": {
        // an HTTP client needs no processes, and may run where there are none
        const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio")
        const made = new StdioClientTransport({
          command: transport.command,
          args: [...(transport.args ?? [])],
          stderr: "pipe",
          ...(transport.env === undefined ? {} : { env: transport.env }),
          ...(transport.cwd === undefined ? {} : { cwd: transport.cwd })
        })
        made.stderr?.on("data", (chunk: unknown) => {
          this.told = forTerminal(`${this.told}${chunk}`.slice(-500))
        })
        return this.watching(made)
      }
      case "http":
        return this.watching(
          new StreamableHTTPClientTransport(new URL(transport.url), {
            fetch: this.fetch,
            ...(transport.authProvider === undefined ? {} : { authProvider: transport.authProvider as never })
          })
        )
      case "custom":
        return this.watching(transport.open() as SdkTransport)
    }
  }

  /** Knows which request is of which call. */
  private watching(transport: SdkTransport): SdkTransport {
    const send = transport.send.bind(transport)
    transport.send = (message, options) => {
      const params = "params" in message && isRecord(message.params) ? message.params : undefined
      const call =
        params === undefined
          ? undefined
          : isRecord(params.arguments) && this.byArguments.has(params.arguments)
            ? this.byArguments.get(params.arguments)
            : this.byTask.get(String(params.taskId))
      if (call !== undefined && "id" in message) this.byRequest.set(message.id as string | number, call)
      const sending = send(message, options)
      if (call !== undefined) {
        call.sent = true
        sending.catch((error: unknown) => {
          if (isUnsent(error)) call.sent = false
        })
      }
      this.sending.add(sending)
      const done = (): void => void this.sending.delete(sending)
      sending.then(done, done)
      return sending
    }
    return transport
  }

  private readonly fetch = async (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const { transport } = this.options
    const headers = new Headers(init.headers)
    // of the server's own: a login asks other hosts by this function, too, and they are told no key
    if (transport.type === "http" && transport.headers !== undefined && isAt(input, transport.url)) {
      for (const [name, value] of Object.entries(await this.options.runPromise(transport.headers))) {
        headers.set(name, value)
      }
    }
    const last = headers.get("last-event-id")
    const asked = typeof init.body === "string" ? messageIn(init.body)?.id : undefined
    const call =
      last !== null
        ? this.cut.get(last)
        : asked === undefined
          ? undefined
          : this.byRequest.get(asked as string | number)
    if (last !== null) this.cut.delete(last)
    try {
      const response = await fetch(input, { ...init, headers })
      if (call === undefined || response.body === null) {
        if (!response.ok && last !== null) call?.lost()
        return response
      }
      if (!response.ok) {
        if (last !== null) call.lost()
        return response
      }
      if (response.headers.get("content-type")?.startsWith("text/event-stream") !== true) return response
      // the response keeps its address, which a new one would not have
      return Object.defineProperty(response, "body", { value: watched(response.body, this.watcherOf(call)) })
    } catch (error) {
      if (last !== null) call?.lost()
      throw error
    }
  }

  private watcherOf(call: InFlight): Parameters<typeof watched>[1] {
    let answered = false
    let last: string | undefined
    return {
      line: (field, value) => {
        if (field === "id") last = value
        else if (!value.includes('"method"')) answered ||= value.includes('"result"') || value.includes('"error"')
        else if (value.includes('"elicitation/create"')) {
          const message = messageIn(value)
          if (message?.method === "elicitation/create") this.byQuestion.set(message.id as string | number, call)
        }
      },
      end: () => {
        if (answered || !this.calls.has(call)) return
        // with an id the transport asks for the rest of the stream
        if (last === undefined) call.lost()
        else this.cut.set(last, call)
      }
    }
  }
}

/** Errors of a request that did not reach any server, or that the server refused to look at. */
export const isUnsent = (error: unknown): boolean => {
  if (!(error instanceof Error)) return false
  const { cause, code, status } = error as { code?: unknown; cause?: unknown; status?: unknown }
  if (code === "NOT_CONNECTED" || error.message === "Not connected") return true
  // a session that the server does not know, after a restart
  if (status === 404 || status === 400) return true
  const causes = cause instanceof AggregateError ? cause.errors : [cause]
  return causes.some((one: unknown) =>
    isRecord(one) || one instanceof Error ? neverSent.has(String((one as { code?: unknown }).code)) : false
  )
}

const neverSent = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT"
])

/** Errors after which the connection is of no use. */
export const isLost = (error: unknown): boolean =>
  isUnsent(error) ||
  (error instanceof Error && ((error as { code?: unknown }).code === "CONNECTION_CLOSED" || error instanceof TypeError))

/** The parameters of `elicitation/create`. */
export const questionOf = (params: unknown): Question => {
  const { message, requestedSchema, url } = (isRecord(params) ? params : {}) as Record<string, unknown>
  return {
    message: typeof message === "string" ? message : "",
    ...(isRecord(requestedSchema) ? { schema: requestedSchema } : {}),
    ...(typeof url === "string" ? { url } : {})
  }
}

const isAt = (input: string | URL | Request, server: string | URL): boolean =>
  new URL(input instanceof Request ? input.url : String(input)).origin === new URL(String(server)).origin
