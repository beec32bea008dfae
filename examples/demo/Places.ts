/**
 * The places that the offline model knows by name. Others are understood from how they are used ("from Gotham"); these
 * also when they stand alone, in lower case, or without their accents.
 */

const names: ReadonlyArray<string> = [
  // Europe
  "Amsterdam|AMS",
  "Ankara",
  "Athens|ATH",
  "Barcelona|BCN",
  "Basel",
  "Bath",
  "Belfast",
  "Belgrade",
  "Bergen|BGO",
  "Berlin|BER",
  "Bern",
  "Bilbao",
  "Birmingham",
  "Bodø",
  "Bologna",
  "Bordeaux",
  "Bratislava",
  "Brest",
  "Bristol",
  "Brussels|BRU",
  "Bucharest",
  "Budapest|BUD",
  "Cardiff",
  "Cologne|Köln",
  "Copenhagen|CPH|København",
  "Cork",
  "Dresden",
  "Dublin|DUB",
  "Dubrovnik",
  "Düsseldorf",
  "Edinburgh",
  "Florence|Firenze",
  "Frankfurt|FRA",
  "Gdańsk",
  "Geneva|GVA|Genève",
  "Genoa",
  "Glasgow",
  "Gothenburg|Göteborg",
  "Graz",
  "Hamburg|HAM",
  "Hanover|Hannover",
  "Helsinki|HEL",
  "Innsbruck",
  "Istanbul|IST",
  "Kraków|Cracow",
  "Kyiv|Kiev",
  "Leeds",
  "Leipzig",
  "Lisbon|LIS|Lisboa",
  "Liverpool",
  "Ljubljana",
  "London|LHR|LGW",
  "Longyearbyen",
  "Luxembourg",
  "Lyon",
  "Madrid|MAD",
  "Malaga|Málaga",
  "Malmö",
  "Manchester",
  "Marseille",
  "Milan|MXP|Milano",
  "Minsk",
  "Monaco",
  "Moscow",
  "Munich|MUC|München",
  "Naples|Napoli",
  "Nice",
  "Nuremberg",
  "Oslo|OSL",
  "Palermo",
  "Palma",
  "Paris|CDG|ORY",
  "Pisa",
  "Porto",
  "Prague|PRG|Praha",
  "Reading",
  "Reykjavik|Reykjavík|KEF",
  "Riga",
  "Rome|FCO|Roma",
  "Rotterdam",
  "Saint Petersburg|St Petersburg",
  "Salzburg",
  "Sarajevo",
  "Seville|Sevilla",
  "Sofia",
  "Split",
  "Stavanger",
  "Stockholm|ARN",
  "Strasbourg",
  "Stuttgart",
  "Tallinn",
  "The Hague",
  "Tirana",
  "Toulouse",
  "Tromsø|TOS",
  "Trondheim|TRD",
  "Turin|Torino",
  "Valencia",
  "Valletta",
  "Venice|Venezia",
  "Verona",
  "Vienna|VIE|Wien",
  "Vilnius",
  "Warsaw|WAW|Warszawa",
  "Wrocław",
  "Zagreb",
  "Zürich|ZRH",
  // North and Central America
  "Anchorage",
  "Atlanta|ATL",
  "Austin",
  "Boston|BOS",
  "Calgary",
  "Cancún",
  "Chicago|ORD",
  "Dallas",
  "Denver|DEN",
  "Detroit",
  "Guatemala City",
  "Halifax",
  "Havana",
  "Honolulu",
  "Houston",
  "Kingston",
  "Las Vegas|Vegas",
  "Los Angeles|LAX",
  "Mexico City",
  "Miami|MIA",
  "Minneapolis",
  "Mobile",
  "Montréal",
  "Nashville",
  "New Orleans",
  "New York|New York City|NYC|NY|JFK",
  "Orlando",
  "Ottawa",
  "Panama City",
  "Philadelphia|Philly",
  "Phoenix",
  "Pittsburgh",
  "Portland",
  "Québec",
  "Salt Lake City",
  "San Antonio",
  "San Diego",
  "San Francisco|SFO",
  "San José",
  "San Juan",
  "Santo Domingo",
  "Seattle|SEA",
  "St Louis|Saint Louis",
  "Tampa",
  "Toronto|YYZ",
  "Vancouver|YVR",
  "Washington DC|Washington",
  // South America
  "Asunción",
  "Bogotá|BOG",
  "Brasília",
  "Buenos Aires|EZE",
  "Caracas",
  "Cartagena",
  "Cusco",
  "La Paz",
  "Lima|LIM",
  "Medellín",
  "Montevideo",
  "Quito",
  "Recife",
  "Rio de Janeiro|Rio|GIG",
  "Salvador",
  "Santiago|SCL",
  "Santiago de Chile",
  "São Paulo|GRU",
  "Ushuaia",
  // Africa and the Middle East
  "Abu Dhabi|AUH",
  "Abuja",
  "Accra",
  "Addis Ababa",
  "Algiers",
  "Amman",
  "Antananarivo",
  "Baghdad",
  "Beirut",
  "Cairo|CAI",
  "Cape Town|CPT",
  "Casablanca",
  "Dakar",
  "Dar es Salaam",
  "Doha|DOH",
  "Dubai|DXB",
  "Durban",
  "Harare",
  "Jeddah",
  "Jerusalem",
  "Johannesburg|JNB",
  "Kampala",
  "Kigali",
  "Kinshasa",
  "Kuwait City",
  "Lagos",
  "Luanda",
  "Lusaka",
  "Marrakesh|Marrakech",
  "Mombasa",
  "Muscat",
  "Nairobi|NBO",
  "Rabat",
  "Riyadh",
  "Tehran",
  "Tel Aviv|TLV",
  "Tripoli",
  "Tunis",
  "Windhoek",
  "Zanzibar",
  // Asia and the Pacific
  "Adelaide",
  "Almaty",
  "Apia",
  "Auckland|AKL",
  "Baku",
  "Bangalore|Bengaluru",
  "Bangkok|BKK",
  "Beijing|PEK",
  "Brisbane",
  "Busan",
  "Calcutta|Kolkata",
  "Canberra",
  "Chengdu",
  "Chennai",
  "Chiang Mai",
  "Christchurch",
  "Colombo",
  "Darwin",
  "Delhi|DEL",
  "Denpasar|Bali|DPS",
  "Dhaka",
  "Fukuoka",
  "Guangzhou",
  "Hanoi",
  "Hiroshima",
  "Ho Chi Minh City|Saigon|SGN",
  "Hobart",
  "Hong Kong|HKG",
  "Hyderabad",
  "Islamabad",
  "Jaipur",
  "Jakarta|CGK",
  "Karachi",
  "Kathmandu",
  "Kuala Lumpur|KUL|KL",
  "Kyoto",
  "Lahore",
  "Macau",
  "Manila|MNL",
  "Melbourne|MEL",
  "Mumbai|BOM|Bombay",
  "Nagoya",
  "New Delhi",
  "Nouméa",
  "Osaka|KIX",
  "Papeete",
  "Perth",
  "Phnom Penh",
  "Phuket",
  "Port Moresby",
  "Sapporo",
  "Seoul|ICN",
  "Shanghai|PVG",
  "Shenzhen",
  "Siem Reap",
  "Singapore|SIN",
  "Suva",
  "Sydney|SYD",
  "Taipei|TPE",
  "Tashkent",
  "Tbilisi",
  "Tokyo|Tokio|NRT|HND",
  "Ulaanbaatar",
  "Vientiane",
  "Vladivostok",
  "Wellington",
  "Xi'an",
  "Yangon",
  "Yerevan"
]

/** Lower case, no accents, no apostrophes or dots: the form in which words are compared. */
export const fold = (text: string): string =>
  text
    .normalize("NFD")
    .replace(/\p{M}/gu, "")
    .toLowerCase()
    .replace(/ø/g, "o")
    .replace(/ł/g, "l")
    .replace(/ß/g, "ss")
    .replace(/æ/g, "ae")
    .replace(/['’.]/g, "")

/** Codes are recognised in capitals only: "ist" and "sea" are words as well. */
const codes = new Map<string, string>()
const known = new Map<string, string>()
for (const line of names) {
  const [name = "", ...aliases] = line.split("|")
  for (const alias of [name, ...aliases]) {
    if (/^[A-Z]{2,3}$/.test(alias)) codes.set(alias, name)
    else known.set(fold(alias), name)
  }
}
for (const code of ["nyc", "lax", "jfk", "lhr"]) known.set(code, codes.get(code.toUpperCase()) ?? code)

/** Names that are everyday words too: only a preposition or a capital makes a city of them. */
const everyday = new Set(["bath", "cork", "mobile", "nice", "phoenix", "reading", "split", "rio", "bali", "brest"])

export interface Found {
  readonly name: string
  /** how many words it took */
  readonly length: number
}

/** The longest known place that starts at a word. `marked`: a preposition came before it. */
export const placeAt = (words: ReadonlyArray<string>, at: number, marked: boolean): Found | undefined => {
  for (let length = Math.min(4, words.length - at); length > 0; length--) {
    const raw = words.slice(at, at + length)
    const key = fold(raw.join(" "))
    const name = known.get(key)
    if (name !== undefined) {
      const first = raw[0] ?? ""
      if (marked || !everyday.has(key) || (at > 0 && /^\p{Lu}/u.test(first))) return { name, length }
    }
  }
  const code = codes.get(words[at] ?? "")
  return code === undefined ? undefined : { name: code, length: 1 }
}

const small = new Set(["de", "da", "do", "del", "la", "le", "of", "on", "upon", "sur", "am", "an", "der", "es"])

/** A place that is not on the list, written as names are. */
export const placeName = (words: ReadonlyArray<string>): string => {
  const text = words.join(" ")
  if (/\p{Lu}/u.test(text) && /\p{Ll}/u.test(text)) return text
  const capital = (word: string, index: number) =>
    index > 0 && small.has(word) ? word : word.replace(/^\p{L}/u, (letter) => letter.toUpperCase())
  return words.map((word, index) => capital(word.toLowerCase().split("-").map(capital).join("-"), index)).join(" ")
}

/** The number of single edits between two words, a swap of neighbours counted as one; 3 stands for "many". */
export const distance = (a: string, b: string): number => {
  if (Math.abs(a.length - b.length) > 2) return 3
  const rows: Array<Array<number>> = [Array.from({ length: b.length + 1 }, (_, index) => index)]
  const cell = (row: number, column: number) => rows[row]?.[column] ?? 99
  for (let i = 1; i <= a.length; i++) {
    rows[i] = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let best = Math.min(cell(i - 1, j) + 1, cell(i, j - 1) + 1, cell(i - 1, j - 1) + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, cell(i - 2, j - 2) + 1)
      rows[i]?.push(best)
    }
  }
  return Math.min(3, cell(a.length, b.length))
}

/** A known place of which these words are a misspelling: a swap of two letters, or one slip in a long name. */
export const nearPlace = (words: ReadonlyArray<string>): string | undefined => {
  const key = fold(words.join(" "))
  if (key.length < 5 || known.has(key)) return known.get(key)
  for (const [candidate, name] of known) {
    if (candidate[0] !== key[0]) continue
    const edits = distance(candidate, key)
    const swapped =
      edits === 1 && candidate.length === key.length && [...candidate].sort().join("") === [...key].sort().join("")
    if (edits === 1 && (swapped || candidate.length >= 7)) return name
  }
  return undefined
}
