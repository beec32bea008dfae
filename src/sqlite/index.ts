/**
 * Durable sessions in a file of SQLite.
 *
 * @since 0.1.0
 */
export * as SqliteSessionStorage from "./SqliteSessionStorage.js"
