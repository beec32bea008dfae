/**
 * What a test of an agent needs: a scripted model, and a session in virtual time.
 *
 * @since 0.1.0
 */
export * as ScriptedModel from "./ScriptedModel.js"
export * as TestSession from "./TestSession.js"
