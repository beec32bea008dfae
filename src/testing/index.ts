/**
 * What a test of an agent needs: a scripted model, a session in virtual time, and a clock for long simulations.
 *
 * @since 0.1.0
 */
export * as ScriptedModel from "./ScriptedModel.js"
export * as TestSession from "./TestSession.js"
export * as VirtualClock from "./VirtualClock.js"
