/** What is used here of two packages that the repository itself does not have: see `package.json` beside this file. */
declare module "@gooney-001/ten-vad-lib" {
  export interface Detector {
    readonly HEAP16: Int16Array
    readonly HEAP32: Int32Array
    readonly _malloc: (bytes: number) => number
    readonly _free: (at: number) => void
    readonly _ten_vad_create: (handle: number, samples: number, threshold: number) => number
    readonly _ten_vad_process: (
      handle: number,
      samples: number,
      count: number,
      probability: number,
      flag: number
    ) => number
    readonly _ten_vad_destroy: (handle: number) => number
  }
  const load: () => Promise<Detector>
  export default load
}

declare module "koffi" {
  export interface Library {
    readonly func: (prototype: string) => (...args: ReadonlyArray<unknown>) => unknown
  }
  const koffi: { readonly load: (name: string) => Library }
  export default koffi
}
