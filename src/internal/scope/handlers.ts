/**
 * Where the handler of a tool is found: in the context of its place, by the tool's id; or what a test puts in front of
 * it, which wins over the handlers of every scope inside of the one that has it (rule K3).
 */
import * as Tool from "@effect/ai/Tool"
import * as Context from "effect/Context"

type Handler = Tool.Handler<string>

/** Is anything in front of a handler? Without, a key for each of ten thousand tools is not made. */
const inFront = "effect-meantime/InFront"
const inFrontOf = (name: string): string => `${inFront}/${name}`

export const handlerOf = (tool: Tool.Any, { unsafeMap }: Context.Context<any>): Handler | undefined =>
  (unsafeMap.has(inFront) ? unsafeMap.get(inFrontOf(tool.name)) : undefined) ?? unsafeMap.get(tool.id)

/** Handlers by the names of their tools. Where no session looks for them, they are handlers as others are. */
export const toContext = <Name extends string>(
  handlers: Readonly<Record<Name, Handler["handler"]>>,
  context: Context.Context<never>
): Context.Context<Tool.Handler<Name>> => {
  const map = new Map<string, unknown>([[inFront, true]])
  for (const [name, handler] of Object.entries(handlers)) {
    const found = { name, handler, context }
    map.set(inFrontOf(name), found)
    map.set(Tool.make(name).id, found)
  }
  return Context.unsafeMake(map)
}
