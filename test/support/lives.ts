/**
 * Durable sessions through several lives: a storage in memory, and crashes at its writes. What a life does after its crash
 * nobody sees: the storage refuses it, and its journal is closed.
 */
import { LanguageModel } from "@effect/ai"
import { Clock, Effect, Layer, Logger, type Scope } from "effect"
import { Agent, AgentOutput, type AgentSession, type AsyncToolset, SessionStorage } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { lineOf, type Tools, toolkit } from "./talk.js"

/** Where in a write a process dies. */
export type Moment = "before" | "after" | "late"

export interface Crash {
  /** which of the life's writes, from 1 */
  readonly at: number
  readonly moment: Moment
}

export interface World {
  readonly storage: SessionStorage.Service
  /** what is there beside the session: what handlers have done, in all lives */
  readonly journal: Array<string>
  /** what is stored of the session, by kind */
  readonly rows: (kind?: string) => Effect.Effect<ReadonlyArray<SessionStorage.Row>>
  /** writes of lives that are over, which reach the storage now */
  readonly late: Array<Effect.Effect<void>>
  readonly logs: Array<string>
}

export const makeWorld: Effect.Effect<World, never, Scope.Scope> = Effect.gen(function* () {
  const context = yield* Layer.build(SessionStorage.layerMemory)
  const storage = yield* Effect.provide(SessionStorage.SessionStorage, context)
  const stored = new Map<string, SessionStorage.Row>()
  const watched: SessionStorage.Service = {
    ...storage,
    write: (id, epoch, rows, open) =>
      Effect.tap(storage.write(id, epoch, rows, open), () =>
        Effect.sync(() => {
          for (const row of rows) {
            const key = `${row.kind}/${row.id}`
            if (row.data === undefined) stored.delete(key)
            else stored.set(key, JSON.parse(JSON.stringify(row)))
          }
        })
      )
  }
  return {
    storage: watched,
    journal: [],
    rows: (kind) =>
      Effect.sync(() => Array.from(stored.values()).filter((row) => kind === undefined || row.kind === kind)),
    late: [],
    logs: []
  }
})

export interface LifeSetup extends Omit<AgentSession.Options<never, []>, "agent" | "tools" | "agents"> {
  /** default: "session" */
  readonly id?: string | undefined
  readonly script: ScriptedModel.Script
  readonly tools?: (life: Pick<Life, "note" | "does">) => Tools
  readonly agent?: Agent.Agent<any>
  readonly agents?: ReadonlyArray<Agent.Agent<any>>
  readonly sessionTools?: ReadonlyArray<AsyncToolset.Entry>
  readonly layer?: Layer.Layer<any> | Layer.Layer<never>
  readonly pace?: number | "instant"
  readonly crash?: Crash
}

export interface Life extends TestSession.TestSession {
  readonly model: ScriptedModel.Service
  readonly events: TestSession.Collected
  /** something that is seen outside, unless the life is over */
  readonly note: (what: string) => Effect.Effect<void>
  /** the same, after so many seconds, for a step */
  readonly does: (what: string, seconds?: number) => Effect.Effect<string>
  /** The process dies now. */
  readonly crash: Effect.Effect<void>
  readonly isOver: () => boolean
  /** how many writes it has made */
  readonly writes: () => number
  readonly lines: Effect.Effect<ReadonlyArray<string>>
}

/** A life of the session that the world has. */
export const live = (world: World, setup: LifeSetup): Effect.Effect<Life, SessionStorage.StorageError, Scope.Scope> =>
  Effect.gen(function* () {
    const {
      agent,
      agents = [],
      crash,
      layer = Layer.empty,
      pace = "instant",
      script,
      sessionTools,
      tools,
      ...options
    } = setup
    let over = false
    let writes = 0
    const refused = (sessionId: string, epoch: number) => new SessionStorage.Fenced({ sessionId, epoch })
    const storage: SessionStorage.Service = {
      ...world.storage,
      write: (id, epoch, rows, open) =>
        Effect.suspend(() => {
          if (over) return refused(id, epoch)
          const write = world.storage.write(id, epoch, rows, open)
          if (++writes !== crash?.at) return write
          over = true
          if (crash.moment === "before") return refused(id, epoch)
          if (crash.moment === "late") {
            world.late.push(Effect.ignore(write))
            return refused(id, epoch)
          }
          return Effect.zipRight(write, refused(id, epoch))
        })
    }
    const note = (what: string) =>
      Effect.map(Clock.currentTimeMillis, (millis) => {
        if (!over) world.journal.push(`${millis / 1000} ${what}`)
      })
    const does = (what: string, seconds = 0) =>
      Effect.sleep(`${seconds} seconds`).pipe(Effect.zipRight(note(what)), Effect.as(what))
    const collector = Logger.make(({ logLevel, message }) => {
      if (over) return
      world.logs.push(`${logLevel.label}: ${Array.isArray(message) ? message.map(String).join(" ") : String(message)}`)
    })
    const own = toolkit(tools?.({ note, does }) ?? {})
    const { languageModel, service: model } = yield* ScriptedModel.make(script)
    const { close, session } = yield* (
      TestSession.make({
        id: "session",
        ...options,
        agent: agent ?? Agent.make("helper", { instructions: "You help.", tools: [own.kit] }),
        agents,
        tools: sessionTools ?? []
        // `TestSession.make` passes on what it is given, and an agent of a test needs whatever it needs
      } as any) as Effect.Effect<TestSession.TestSession, SessionStorage.StorageError, any>
    ).pipe(
      Effect.provide(own.layer),
      Effect.provide(layer as Layer.Layer<any>),
      Effect.provide(pace === "instant" ? Layer.empty : AgentOutput.layerPaced({ charactersPerSecond: pace })),
      Effect.provide(Logger.replace(Logger.defaultLogger, collector)),
      Effect.provideService(LanguageModel.LanguageModel, languageModel),
      Effect.provideService(SessionStorage.SessionStorage, storage)
    ) as Effect.Effect<TestSession.TestSession, SessionStorage.StorageError, Scope.Scope>
    const events = yield* TestSession.collect(session)
    return {
      session,
      close,
      model,
      events,
      note,
      does,
      crash: Effect.sync(() => {
        over = true
      }),
      isOver: () => over,
      writes: () => writes,
      lines: Effect.map(session.history, ({ items }) => items.map(lineOf))
    }
  })
