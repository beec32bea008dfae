/**
 * What a test of an agent needs: a scripted model, a session in virtual time, a cursor over its events, stubs for tools,
 * a judge, a clock for long simulations, and suites for models, outputs and storages of your own.
 *
 * @since 0.1.0
 */
export * as contract from "./contract.js"
export {
  type DeepPartial,
  type EventCursor,
  type EventFields,
  EventMismatch,
  type EventOf,
  type ExpectedEvent,
  expectEvents
} from "./EventCursor.js"
export { type Judgement, type JudgeSubject, judge } from "./judge.js"
export * as ScriptedModel from "./ScriptedModel.js"
export { Outcome, type Stub, Stubs, stubs } from "./Stubs.js"
export * as TestSession from "./TestSession.js"
export * as VirtualClock from "./VirtualClock.js"
