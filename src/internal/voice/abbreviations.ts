/**
 * Words behind which a full stop ends no sentence. Only those that stand in front of a name or a number are here: one that
 * may end a sentence as well ("etc.", "Inc.") is decided by the letter that follows. A boundary that is missed costs a
 * moment, one too many is heard.
 */

/** In front of a name. */
const beforeNames = new Set(
  (
    "mr mrs ms mx dr prof st messrs gen col sgt capt lt cmdr adm maj rev hon gov sen rep pres supt det insp " +
    "mt ft approx ca cf vs viz al " +
    "hr fr bzw evtl ggf inkl exkl vgl sog dipl ing mme mlle mm sra srta srs dra ud uds sig dott avv"
  ).split(" ")
)

/** In front of a number only: "no." and "art." end sentences, too. */
const beforeNumbers = new Set(
  (
    "no nos nr num núm fig figs vol vols pp pg pag pág art abs ch chap sec eq ed op ver rm apt ext tel " +
    "jan feb mar apr jun jul aug sep sept oct okt nov dec dez mon tue tues wed thu thurs fri sat sun"
  ).split(" ")
)

/** What follows an ordinal that is written with a full stop: "am 3. Mai". */
const afterOrdinals = new Set(
  (
    "Januar Jänner Februar März April Mai Juni Juli August September Oktober November Dezember Jahrhundert Jh Stock " +
    "Klasse Platz Etage Runde Kapitel Geburtstag"
  ).split(" ")
)

const letters = /[\p{L}\p{M}]+$/u
const dotted = /(?:^|[^\p{L}\p{N}])(?:\p{L}\.)*\p{L}$/u

export type Kind = "none" | "name" | "number"

/** What the end of a text means for the full stop behind it. */
export const kindOf = (before: string): Kind => {
  const word = letters.exec(before)?.[0]
  if (word === undefined) return "none"
  // an initial, or letters with a stop behind each: "J. Smith", "e.g.", "U.S."
  if (dotted.test(before)) return "name"
  const lower = word.toLowerCase()
  return beforeNames.has(lower) ? "name" : beforeNumbers.has(lower) ? "number" : "none"
}

export const followsOrdinal = (word: string): boolean => afterOrdinals.has(word)
