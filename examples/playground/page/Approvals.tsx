/**
 * The calls that wait for a person: let them run, with other arguments perhaps, or not.
 */
import { useId, useState } from "react"
import * as Form from "../../shared/Form.js"
import type * as Protocol from "../Protocol.js"
import { briefArguments, FateIcon } from "./parts.js"

interface Actions {
  /** resolves to whether it was done */
  readonly onApprove: (callId: string, args?: unknown) => Promise<boolean>
  readonly onDeny: (callId: string, reason: string) => Promise<boolean>
  readonly onSelect: (callId: string) => void
}

export interface Props extends Actions {
  readonly approvals: ReadonlyArray<Protocol.Waiting>
  readonly tools: ReadonlyArray<Protocol.ToolInfo>
  readonly conversation: string
}

export const Approvals = ({ approvals, conversation, tools, ...actions }: Props) =>
  approvals.length === 0 ? null : (
    <section className="asks" aria-label="Waiting for you">
      {approvals.map((call) => (
        // another conversation may have a call of the same id
        <Ask
          key={`${conversation} ${call.callId}`}
          call={call}
          schema={tools.find(({ name }) => name === call.name)?.schema}
          {...actions}
        />
      ))}
    </section>
  )

interface AskProps extends Actions {
  readonly call: Protocol.Waiting
  readonly schema: unknown
}

const Ask = ({ call, onApprove, onDeny, onSelect, schema }: AskProps) => {
  const { arguments: args, callId, name, reason } = call
  const [why, setWhy] = useState("")
  const [open, setOpen] = useState(false)
  const [busy, setBusy] = useState(false)
  // it goes once the server says that it waits no more
  const decide = async (done: Promise<boolean>) => {
    setBusy(true)
    if (!(await done)) setBusy(false)
  }
  const named = `${name} ${callId}`
  return (
    <article className="ask" aria-label={named}>
      <button type="button" className="what" onClick={() => onSelect(callId)}>
        <FateIcon of="waiting" />
        <b>{name}</b>
        <span className="args">{briefArguments(args) || callId}</span>
        <span className="sr">, {callId}, waits for you; show it in the timeline</span>
      </button>
      {reason !== undefined && <p className="why">{reason}</p>}
      {open && <Edit call={call} schema={schema} busy={busy} onDone={(edited) => decide(onApprove(callId, edited))} />}
      <div className="decide">
        {!open && (
          <button
            type="button"
            className="yes"
            disabled={busy}
            aria-label={`Approve ${named}`}
            onClick={() => void decide(onApprove(callId))}
          >
            Approve
          </button>
        )}
        <button
          type="button"
          aria-expanded={open}
          disabled={busy}
          aria-label={`Edit ${named}`}
          onClick={() => setOpen(!open)}
        >
          {open ? "Leave it" : "Edit"}
        </button>
        <form
          className="no"
          onSubmit={(event) => {
            event.preventDefault()
            void decide(onDeny(callId, why))
          }}
        >
          <input
            aria-label={`Why not ${named}`}
            placeholder="Why not, if you like"
            maxLength={2000}
            autoComplete="off"
            value={why}
            onChange={({ target }) => setWhy(target.value)}
          />
          <button type="submit" disabled={busy} aria-label={`Deny ${named}`}>
            Deny
          </button>
        </form>
      </div>
    </article>
  )
}

interface EditProps {
  readonly call: Protocol.Waiting
  readonly schema: unknown
  readonly busy: boolean
  readonly onDone: (args: unknown) => Promise<void>
}

const Edit = ({ busy, call, onDone, schema }: EditProps) => {
  const [changed, setChanged] = useState<ReadonlyMap<string, string>>(new Map())
  const [problems, setProblems] = useState<ReadonlyMap<string, string>>(new Map())
  const fields = Form.fields(schema, call.arguments)
  return (
    <form
      className="edit"
      aria-label={`Arguments of ${call.name} ${call.callId}`}
      onSubmit={(event) => {
        event.preventDefault()
        const read = Form.read(fields, changed, call.arguments)
        setProblems(read._tag === "Problems" ? read.problems : new Map())
        if (read._tag === "Arguments") void onDone(read.arguments)
      }}
    >
      {fields.map((field) => (
        <Input
          key={field.name}
          field={field}
          text={changed.get(field.name) ?? field.text}
          problem={problems.get(field.name)}
          onText={(text) => setChanged((changed) => new Map(changed).set(field.name, text))}
        />
      ))}
      <button
        type="submit"
        className="yes"
        disabled={busy}
        aria-label={`Approve ${call.name} ${call.callId} as edited`}
      >
        Approve as edited
      </button>
    </form>
  )
}

interface InputProps {
  readonly field: Form.Field
  readonly text: string
  readonly problem: string | undefined
  readonly onText: (text: string) => void
}

const Input = ({ field, onText, problem, text }: InputProps) => {
  const id = useId()
  const about = `${id}-about`
  const { choices, description, kind, name } = field
  const given = {
    id,
    value: text,
    "aria-invalid": problem !== undefined,
    "aria-describedby": about,
    onChange: ({ target }: { readonly target: { readonly value: string } }) => onText(target.value)
  }
  const options = kind === "flag" ? ["true", "false"] : choices
  return (
    <div className="field">
      <label htmlFor={id}>{name === "" ? "arguments" : name}</label>
      {kind === "flag" || kind === "choice" ? (
        <select {...given}>
          {(field.empty !== "missing" || field.text === "") && <option value="">–</option>}
          {options.map((option) => (
            <option key={option}>{option}</option>
          ))}
        </select>
      ) : kind === "number" ? (
        <input {...given} inputMode="decimal" autoComplete="off" />
      ) : (
        <textarea {...given} rows={1} spellCheck={kind === "text"} />
      )}
      <small id={about}>
        {problem === undefined ? description : <span className="bad">{`${name || "this"} ${problem}`}</span>}
      </small>
    </div>
  )
}
