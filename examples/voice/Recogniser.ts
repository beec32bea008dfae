/**
 * A recogniser: PocketSphinx, a library in C from Debian's packages. It follows a grammar, since without one it
 * understands little; and it says after each frame what it has understood so far.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, type Scope } from "effect"
import { VoiceError } from "effect-meantime/voice"
import koffi from "koffi"

const model = "/usr/share/pocketsphinx/model/en-us"

export interface Recogniser {
  readonly begin: () => void
  /** what is understood so far */
  readonly feed: (samples: Int16Array) => string
  /** what was understood */
  readonly end: () => string
}

const load = () => {
  const base = koffi.load("libsphinxbase.so.3")
  const sphinx = koffi.load("libpocketsphinx.so.3")
  return {
    options: base.func("void *cmd_ln_init(void *inout, const void *definition, int strict, ...)"),
    definition: sphinx.func("const void *ps_args()"),
    make: sphinx.func("void *ps_init(void *options)"),
    free: sphinx.func("int ps_free(void *decoder)"),
    start: sphinx.func("int ps_start_utt(void *decoder)"),
    process: sphinx.func(
      "int ps_process_raw(void *decoder, const int16_t *data, size_t length, int search, int whole)"
    ),
    end: sphinx.func("int ps_end_utt(void *decoder)"),
    text: sphinx.func("const char *ps_get_hyp(void *decoder, _Out_ int32_t *score)")
  }
}

/** The library reads the grammar from a file. */
const grammarFile = (grammar: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "voice-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    ),
    (folder) => {
      const file = join(folder, "grammar.jsgf")
      writeFileSync(file, grammar)
      return file
    }
  )

/** `grammar`: in the Java Speech Grammar Format. */
export const make = (grammar: string): Effect.Effect<Recogniser, VoiceError, Scope.Scope> =>
  Effect.gen(function* () {
    const file = yield* grammarFile(grammar)
    const sphinx = yield* Effect.try({
      try: load,
      catch: (cause) => new VoiceError({ message: "PocketSphinx is not there: see the README of this example.", cause })
    })
    const options = Object.entries({
      "-hmm": `${model}/en-us`,
      "-dict": `${model}/cmudict-en-us.dict`,
      "-jsgf": file,
      "-logfn": "/dev/null"
    }).flatMap(([name, value]) => ["string", name, "string", value])
    const decoder = yield* Effect.acquireRelease(
      Effect.suspend(() => {
        const made = sphinx.make(sphinx.options(null, sphinx.definition(), 1, ...options, "void *", null))
        return made === null
          ? new VoiceError({ message: "PocketSphinx does not start: is its model installed?" })
          : Effect.succeed(made)
      }),
      (decoder) => Effect.sync(() => sphinx.free(decoder))
    )
    const text = (): string => (sphinx.text(decoder, [0]) as string | null) ?? ""
    return {
      begin: () => void sphinx.start(decoder),
      feed: (samples) => {
        sphinx.process(decoder, samples, samples.length, 0, 0)
        return text()
      },
      end: () => {
        sphinx.end(decoder)
        return text()
      }
    }
  })
