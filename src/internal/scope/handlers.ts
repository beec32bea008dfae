/**
 * Where the handler of a tool is found: in the context of its place, by the tool's id; or what a test puts in front of
 * it, which wins over the handlers of every scope inside of the one that has it (rule K3).
 */
import * as Tool from "@effect/ai/Tool"
import * as Context from "effect/Context"

type Handler = Tool.Handler<string>

const inFront = (name: string): string => `effect-meantime/InFront/${name}`

export const handlerOf = (tool: Tool.Any, context: Context.Context<any>): Handler | undefined =>
  context.unsafeMap.get(inFront(tool.name)) ?? context.unsafeMap.get(tool.id)

/** Handlers by the names of their tools. Where no session looks for them, they are handlers as others are. */
export const toContext = <Name extends string>(
  handlers: Readonly<Record<Name, Handler["handler"]>>,
  context: Context.Context<never>
): Context.Context<Tool.Handler<Name>> => {
  const map = new Map<string, unknown>()
  for (const [name, handler] of Object.entries(handlers)) {
    const found = { name, handler, context }
    map.set(inFront(name), found)
    map.set(Tool.make(name).id, found)
  }
  return Context.unsafeMake(map)
}
