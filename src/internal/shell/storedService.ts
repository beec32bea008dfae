/**
 * A durable session as programs see it: what they ask for is stored before they are told of it (rule Q3).
 */
import * as Effect from "effect/Effect"
import type { Service } from "../../AgentSession.js"
import { OptionsError, type SessionClosed } from "../../Tags.js"
import type { Host } from "./host.js"
import { makeService } from "./service.js"

export const makeStoredService = (host: Host): Service => {
  const service = makeService(host)
  /** One that stops is no failure of what was asked for, which is done in its next life. */
  const told: Effect.Effect<void> = Effect.suspend(() => host.storing?.settled ?? Effect.void)
  const orClosed: Effect.Effect<void, SessionClosed> = Effect.suspend(() => host.storing?.told ?? Effect.void)
  const room: Effect.Effect<void> = Effect.suspend(() => host.storing?.room ?? Effect.void)
  const asked = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | SessionClosed> =>
    room.pipe(Effect.zipRight(effect), Effect.zipLeft(orClosed))
  const decided = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    room.pipe(Effect.zipRight(effect), Effect.zipLeft(told))
  return {
    ...service,
    send: (input, options) => asked(service.send(input, options)),
    run: (input, options) => Effect.zipRight(room, service.run(input, options)),
    generateReply: (options) => asked(service.generateReply(options)),
    say: (text, options) => asked(service.say(text, options)),
    // what is not carried out yet, such as the first `onEnter`, is nothing that the state knows of
    waitForIdle: Effect.zipRight(told, service.waitForIdle),
    userTurn: (options) =>
      Effect.map(service.userTurn(options), (turn) => ({
        ...turn,
        commit: (input, options) => asked(turn.commit(input, options))
      })),
    interrupt: (options) => decided(service.interrupt(options)),
    handoff: (agent) => {
      const known = host.agents.some(({ name }) => name === agent.name)
      return known ? service.handoff(agent) : Effect.die(unknownAgent(agent.name))
    },
    cancelTool: (callId) => decided(service.cancelTool(callId)),
    messageTool: (callId, message) => decided(service.messageTool(callId, message)),
    approve: (callId, options) => decided(service.approve(callId, options)),
    deny: (callId, options) => decided(service.deny(callId, options)),
    respond: (callId, output, options) => decided(service.respond(callId, output, options)),
    release: (callId) => decided(service.release(callId))
  }
}

/** Its next life would not find it (rule Q16). */
const unknownAgent = (name: string): OptionsError =>
  new OptionsError({
    owner: "the session",
    option: "agents",
    problem: `has to list the agent ${JSON.stringify(name)}: a durable session finds its agents by their names`
  })
