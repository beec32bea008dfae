import { type Context, Effect, type Exit, type Fiber, type Option, Supervisor } from "effect"

/** Knows which fibers of those that were started under it are alive, children too. */
export class Alive extends Supervisor.AbstractSupervisor<ReadonlySet<unknown>> {
  readonly fibers = new Set<Fiber.RuntimeFiber<any, any>>()
  readonly value = Effect.sync(() => this.fibers as ReadonlySet<unknown>)
  override onStart<A, E, R>(
    _context: Context.Context<R>,
    _effect: Effect.Effect<A, E, R>,
    _parent: Option.Option<Fiber.RuntimeFiber<any, any>>,
    fiber: Fiber.RuntimeFiber<A, E>
  ): void {
    this.fibers.add(fiber)
  }
  override onEnd<A, E>(_exit: Exit.Exit<A, E>, fiber: Fiber.RuntimeFiber<A, E>): void {
    this.fibers.delete(fiber)
  }
}
