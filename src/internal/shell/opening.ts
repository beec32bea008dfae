/**
 * A durable session that is opened: it is taken over from whoever had it, what is stored is read, and its agents and the
 * arguments of its calls are made again by the code that there is now (rules Q4, Q16, Q17).
 */
import * as Tool from "@effect/ai/Tool"
import * as Effect from "effect/Effect"
import type { Agent } from "../../Agent.js"
import type { Row, Service as Storage } from "../../SessionStorage.js"
import { StorageError } from "../../Tags.js"
import * as Durable from "../machine/durable.js"
import type { Decoded } from "../machine/protocol.js"
import * as Reviving from "../machine/reviving.js"
import type * as Machine from "../machine/state.js"
import * as Stored from "../machine/stored.js"
import { messageTaskName } from "../machine/texts.js"
import { annotated } from "../scope/annotations.js"
import { readGiven } from "../scope/messages.js"
import { isRepeatable } from "../scope/policy.js"
import { boundOf } from "../scope/tool.js"
import { suspended } from "../values/guarded.js"
import { isRecord, toJson } from "../values/json.js"
import { build } from "./agents.js"
import { readArguments } from "./approval.js"
import { failureTold } from "./door.js"
import type { Host } from "./host.js"

export interface Opened {
  readonly sessionId: string
  readonly storage: Storage
  readonly epoch: number
  readonly rows: ReadonlyArray<Row>
  readonly stored: Stored.Stored
  readonly durable: Durable.Durable
}

const damaged = (sessionId: string, row: string | undefined, message: string): StorageError =>
  new StorageError({
    message: `Session "${sessionId}" cannot be opened: ${message} Nothing was changed.`,
    ...(row === undefined ? {} : { row })
  })

export const open = (sessionId: string, storage: Storage): Effect.Effect<Opened, StorageError> =>
  Effect.gen(function* () {
    const { epoch, rows } = yield* suspended(() => storage.open(sessionId))
    const stored = Stored.read(rows)
    if (Stored.isDamaged(stored)) {
      return yield* damaged(sessionId, stored.row, `the row ${stored.row} cannot be used. ${stored.message}`)
    }
    return { sessionId, storage, epoch, rows, stored, durable: Durable.make() }
  })

/** An item of a history that was given to a session that is stored: what is no JSON in it becomes text. */
export const storable = (item: unknown): unknown => {
  if (!isRecord(item)) return item
  const plain: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(item)) {
    plain[key] = key === "files" || value === undefined || typeof value === "boolean" ? value : toJson(value)
  }
  return plain
}

/** There is something to go on with. */
export const isBegun = ({ stored }: Opened): boolean => stored.session !== undefined

/** By name; one that is gone fails the opening. */
const named = (
  { sessionId }: Opened,
  agents: ReadonlyArray<Agent<any>>,
  name: string
): Effect.Effect<Agent<any>, StorageError> => {
  const found = agents.find((agent) => agent.name === name)
  if (found !== undefined) return Effect.succeed(found)
  const message = `its agent "${name}" is neither the session's first one nor among its agents.`
  return Effect.fail(damaged(sessionId, "session/state", message))
}

/** Who the session is with. */
export const agentOf = (opened: Opened, agents: ReadonlyArray<Agent<any>>): Effect.Effect<Agent<any>, StorageError> =>
  Effect.gen(function* () {
    const session = opened.stored.session as Stored.StoredSession
    // looked at before anything is built
    if (session.handoff !== undefined) yield* named(opened, agents, session.handoff.to)
    return yield* named(opened, agents, session.agents[0]?.name as string)
  })

/** Does a handler that had begun run again? (Rule Q7.) */
const mayRerun = (tool: Machine.Tool): boolean => {
  const bound = boundOf(tool)
  // to tell something twice is not to tell it once
  if (bound.kind === "companion") return bound.name !== messageTaskName
  const { onRestart } = bound.options
  if (onRestart !== undefined) return onRestart === "rerun"
  return isRepeatable(bound.tool)
}

const isIdempotent = (tool: Machine.Tool): boolean => annotated(boundOf(tool).tool, Tool.Idempotent) === true

/** What the machine is given to go on from. */
export const revival = (host: Host, opened: Opened, base: Machine.Activity): Effect.Effect<Reviving.Revival> =>
  Effect.gen(function* () {
    const { stored } = opened
    const session = stored.session as Stored.StoredSession
    const others = new Map<string, Machine.Activity>()
    for (const name of Reviving.othersOf(stored)) {
      const agent = host.agents.find((one) => one.name === name)
      if (agent !== undefined) others.set(name, yield* build(host, agent))
    }
    const to = session.handoff === undefined ? undefined : host.agents.find(({ name }) => name === session.handoff?.to)
    const next = to === undefined ? undefined : yield* build(host, to)
    const decoded = new Map<string, Decoded>()
    const letters = new Map<string, ReadonlyArray<{ readonly message: unknown; readonly value: unknown }>>()
    for (const id of stored.runs.keys()) {
      const call = stored.calls.get(id)
      const tool = call === undefined ? undefined : Reviving.toolOf(call, base, others)
      if (call === undefined || tool === undefined || tool.kind === "provider") continue
      decoded.set(id, yield* readArguments(host, boundOf(tool), call.arguments))
      const sent = stored.letters.filter(({ run }) => run === id)
      if (sent.length === 0) continue
      const read: Array<{ readonly message: unknown; readonly value: unknown }> = []
      for (const { message } of sent) {
        const one = yield* readGiven(boundOf(tool), message)
        if (typeof one !== "string") read.push(one)
      }
      letters.set(id, read)
    }
    return { stored, session, base, next, others, decoded, letters, mayRerun, isIdempotent, failureOf: failureTold }
  })
