/** What a contestant can do. What it leaves out, it cannot do, or does not end (then the README says so). */
export interface Contestant {
  readonly name: string
  /** the packages that were measured, for their versions */
  readonly packages: ReadonlyArray<string>
  /** a conversation of this many turns */
  readonly converse: (turns: number) => Promise<void>
  /**
   * A turn whose calls are all in flight: resolves once every handler is at work. `cancel` asks for the end and resolves
   * once the turn (or the session) has been told; it does not when nothing tells it.
   */
  readonly fly?: (handlers: "listening" | "deaf") => Promise<{ readonly cancel: () => Promise<unknown> }>
}

export type Load = () => Promise<Contestant>
