/**
 * Models, tools and voices of the AI SDK.
 *
 * @since 0.1.0
 */
export * as AiSdkModel from "./AiSdkModel.js"
export * as AiSdkTool from "./AiSdkTool.js"
export * as AiSdkVoice from "./AiSdkVoice.js"
