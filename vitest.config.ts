import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const src = fileURLToPath(new URL("./src/", import.meta.url))

export default defineConfig({
  resolve: {
    // most specific first: the first match wins
    alias: [
      { find: /^effect-meantime\/testing$/, replacement: `${src}testing/index.ts` },
      { find: /^effect-meantime\/voice$/, replacement: `${src}voice/index.ts` },
      { find: /^effect-meantime\/ai-sdk$/, replacement: `${src}ai-sdk/index.ts` },
      { find: /^effect-meantime\/(sql|sqlite)$/, replacement: `${src}$1/index.ts` },
      { find: /^effect-meantime\/mcp$/, replacement: `${src}mcp/index.ts` },
      { find: /^effect-meantime\/ui$/, replacement: `${src}ui/index.ts` },
      { find: /^effect-meantime\/(.+)$/, replacement: `${src}$1.ts` },
      { find: /^effect-meantime$/, replacement: `${src}index.ts` }
    ]
  },
  test: {
    setupFiles: ["test/support/seed.ts"],
    // one module graph for each worker: loading Effect anew for each file took a fifth of the run
    isolate: false,
    // virtual time: a test is slow only where the machine is; one that hangs is still ended
    testTimeout: 60_000,
    hookTimeout: 60_000,
    minWorkers: 2,
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          // what the library does, in virtual time: `npm test`
          name: "rules",
          include: ["test/**/*.test.ts"],
          // `encoders` needs another set of versions: `npm run test:encoders`; `package` runs in empty folders: `npm run test:package`;
          // `loop` needs programs of Debian: `npm run test:voice`; `mcp` needs servers of others: `npm run test:mcp`
          exclude: ["test/{programs,soak,browser,encoders,package,postgres,loop,mcp}/**"]
        }
      },
      {
        extends: true,
        test: {
          // examples, pages of the guide, providers' packages: processes, sockets and real time, `npm run test:programs`
          name: "programs",
          include: ["test/programs/**/*.test.ts"],
          exclude: ["test/programs/server.test.ts"]
        }
      },
      {
        extends: true,
        test: {
          // the reference application under 200 conversations, alone on the machine: `npm run test:server`
          name: "server",
          include: ["test/programs/server.test.ts"]
        }
      },
      {
        extends: true,
        test: {
          // long conversations, and more of what the rules try few of: `npm run test:soak`; longer ones with `npm run soak`
          name: "soak",
          env: { THOROUGH: "1" },
          include: [
            "test/soak/**/*.test.ts",
            // those that ask `test/support/times.ts`
            "test/{ChatContext,SessionModel,crashes,faults,found,interleavings,resume}.test.ts",
            "test/{checkers/files,checkers/histories,machine/properties,voice/{conversation,output,policies,sentences}}.test.ts"
          ]
        }
      },
      {
        extends: true,
        test: {
          // with a server of its own: `npm run test:postgres`
          name: "postgres",
          include: ["test/postgres/**/*.test.ts"]
        }
      },
      {
        extends: true,
        test: {
          // a conversation by voice with real parts, in real time: `npm run test:voice`
          name: "voice",
          include: ["test/loop/**/*.test.ts"]
        }
      },
      {
        extends: true,
        test: {
          // servers and clients of the Model Context Protocol, as processes: `npm run test:mcp` installs them
          name: "mcp",
          include: ["test/mcp/*.test.ts"]
        }
      },
      {
        extends: true,
        test: {
          // `npm run test:browser`
          name: "browser",
          include: ["test/browser/**/*.browser.ts"],
          // a test does a dozen things, and a busy machine may take its time for each
          testTimeout: 180_000,
          hookTimeout: 120_000,
          expect: { poll: { timeout: 60_000 } }
        }
      }
    ]
  }
})
