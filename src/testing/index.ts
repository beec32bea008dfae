/**
 * What a test of an agent needs: a scripted model, a session in virtual time, a clock for long simulations, and suites
 * for models and outputs of your own.
 *
 * @since 0.1.0
 */
export * as contract from "./contract.js"
export * as ScriptedModel from "./ScriptedModel.js"
export * as TestSession from "./TestSession.js"
export * as VirtualClock from "./VirtualClock.js"
