/**
 * A context with one service more that shares the other's map instead of copying it: what a call in flight costs does
 * not grow with the services of its scope. A context is only ever read; whoever adds to this one copies it, as ever.
 */
import * as Context from "effect/Context"

class Overlay<V> implements ReadonlyMap<string, V> {
  constructor(
    private readonly base: ReadonlyMap<string, V>,
    private readonly key: string,
    private readonly value: V
  ) {}

  get size(): number {
    return this.base.has(this.key) ? this.base.size : this.base.size + 1
  }

  has(key: string): boolean {
    return key === this.key || this.base.has(key)
  }

  get(key: string): V | undefined {
    return key === this.key ? this.value : this.base.get(key)
  }

  *entries(): MapIterator<[string, V]> {
    for (const entry of this.base) if (entry[0] !== this.key) yield entry
    yield [this.key, this.value]
  }

  *keys(): MapIterator<string> {
    for (const [key] of this.entries()) yield key
  }

  *values(): MapIterator<V> {
    for (const [, value] of this.entries()) yield value
  }

  forEach(f: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const [key, value] of this.entries()) f(value, key, this)
  }

  [Symbol.iterator](): MapIterator<[string, V]> {
    return this.entries()
  }
}

// a context is made on a map, and only reads it: what an overlay lacks of a map is never called
export const withService = <I, S>(context: Context.Context<any>, tag: Context.Tag<I, S>, service: S) =>
  Context.unsafeMake<any>(new Overlay(context.unsafeMap, tag.key, service) as unknown as Map<string, any>)
