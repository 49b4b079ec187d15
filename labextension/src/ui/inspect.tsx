/** A look inside what runs: its stack now, or a profile of some seconds. */

import { useEffect, useState } from 'preact/hooks';
import { Flame } from './flame';
import { ProfileReply, StackReply } from './messages';
import { Do } from './parts';
import { ViewProps } from './view';

/** What is looked into: a running task, an actor, a worker. */
export type Target = { task: string } | { actor: string } | { worker: number };

const PROFILE_SECONDS = 5;

interface Seen { stack?: string; profile?: ProfileReply; error?: string; waits?: string }

/** A button beside a row that opens its detail with the stack. */
export function StackButton(props: { view: ViewProps; table: string; id: string; name: string }) {
  const { remembered, redraw } = props.view;
  return (
    <Do label="Stack" title={`What ${props.name} does at this moment`} onClick={() => {
      remembered.open[props.table] = remembered.stack = props.id;
      redraw();
    }} />
  );
}

export function Inspect(props: { target: Target; view: ViewProps; id: string; name: string }) {
  const { target, view: { ask, remembered }, id, name } = props;
  const [seen, setSeen] = useState<Seen>({});
  const stack = async () => {
    setSeen({ waits: 'Asking its worker…' });
    const reply = await ask<StackReply>({ do: 'stack', ...target });
    setSeen(reply.ok ? { stack: reply.stack } : { error: reply.text });
  };
  const profile = async () => {
    setSeen({ waits: `Sampling for ${PROFILE_SECONDS} s…` });
    const reply = await ask<ProfileReply>({ do: 'profile', seconds: PROFILE_SECONDS, ...target });
    setSeen(reply.ok ? { profile: reply } : { error: reply.text });
  };
  useEffect(() => {
    if (remembered.stack === id) {
      remembered.stack = '';
      void stack();
    }
  });
  return (
    <div class="rn-inspect">
      <span class="rn-act">
        <Do label="Stack" title={`What ${name} does at this moment`} onClick={() => void stack()} />
        <Do label="Profile" title={`Where the time of ${name} goes: a flame graph of ${PROFILE_SECONDS} s`} onClick={() => void profile()} />
      </span>
      {seen.waits ? <div class="rn-dim" role="status">{seen.waits}</div> : null}
      {seen.error ? <div class="rn-error" role="status">{seen.error}</div> : null}
      {seen.stack ? <pre aria-label={`Stack of ${name}`}>{seen.stack}</pre> : null}
      {seen.profile ? <Flame profile={seen.profile} /> : null}
    </div>
  );
}
