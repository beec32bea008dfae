/**
 * @since 0.1.0
 */
export * as Agent from "./Agent.js"
export * as AgentOutput from "./AgentOutput.js"
export * as AgentSession from "./AgentSession.js"
export * as ApprovalPolicy from "./ApprovalPolicy.js"
export * as AsyncTool from "./AsyncTool.js"
export * as AsyncToolset from "./AsyncToolset.js"
export * as ChatContext from "./ChatContext.js"
export * as DuplicatePolicy from "./DuplicatePolicy.js"
export * as RunContext from "./RunContext.js"
export * as SessionEvent from "./SessionEvent.js"
export * as SessionModel from "./SessionModel.js"
export * as SessionStorage from "./SessionStorage.js"
export * as Sessions from "./Sessions.js"
export * as SpeechHandle from "./SpeechHandle.js"
export * as Telemetry from "./Telemetry.js"
export * as ToolPrompts from "./ToolPrompts.js"
