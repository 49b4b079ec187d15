/** Small pieces that several views use. */

import { ComponentChildren, RefObject } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { count } from './format';
import { Counts } from './picture';
import { STATES, stateWords } from './words';

/** Gives the focus to `there` when what has it in `box` goes with a change: it would fall out of the views. */
export function useKeptFocus(box: RefObject<HTMLElement>, there: () => HTMLElement | null | undefined): void {
  const inside = box.current?.contains(document.activeElement) ?? false;
  useLayoutEffect(() => {
    if (inside && document.activeElement === document.body) {
      there()?.focus({ preventScroll: true });
    }
  });
}

export function StateDot(props: { state: string }) {
  return <span class={`rn-dot rn-s-${props.state}`} aria-hidden="true" />;
}

export function StateLabel(props: { state: string; label?: string }) {
  return (
    <span class="rn-state" title={props.state}>
      <StateDot state={props.state} />
      {props.label ?? stateWords(props.state)}
    </span>
  );
}

/** Tasks by state as one bar; the text for screen readers says the same. */
export function StackedBar(props: { counts: Counts }) {
  const present = STATES.filter(state => props.counts[state]);
  const sum = present.reduce((n, state) => n + props.counts[state], 0);
  const text = present.map(state => `${count(props.counts[state])} ${stateWords(state)}`).join(', ');
  return (
    <div class="rn-stack" role="img" aria-label={text || 'no tasks'} title={text}>
      {present.map(state => (
        <span key={state} class={`rn-s-${state}`} style={{ flexGrow: props.counts[state] / sum }} />
      ))}
    </div>
  );
}

/** A bar of parts of a whole, such as the store's use. */
export function Meter(props: { parts: { class: string; value: number; label: string }[]; whole: number; label: string }) {
  const whole = props.whole || 1;
  return (
    <div class="rn-meter" role="img" aria-label={props.label} title={props.label}>
      {props.parts.map(part => (
        <span key={part.label} class={part.class} style={{ width: `${Math.min(100, (100 * part.value) / whole)}%` }} />
      ))}
    </div>
  );
}

export function Empty(props: { title: string; children?: ComponentChildren }) {
  return (
    <div class="rn-empty">
      <div class="rn-empty-title">{props.title}</div>
      {props.children ? <div>{props.children}</div> : null}
    </div>
  );
}

/** What a view that has asked the kernel shows until the answer is there; said only when it lasts. */
export function Looking() {
  return <div class="rn-late"><Empty title="looking…" /></div>;
}

const SURE_MS = 4000;

/** A button that asks once more before it does what cannot be undone. */
export function Sure(props: { label: string; title: string; onClick: () => void; disabled?: boolean }) {
  const [asked, setAsked] = useState(false);
  useEffect(() => {
    if (!asked) {
      return undefined;
    }
    const timer = setTimeout(() => setAsked(false), SURE_MS);
    return () => clearTimeout(timer);
  }, [asked]);
  const click = (event: Event) => {
    event.stopPropagation();
    if (asked) {
      setAsked(false);
      props.onClick();
    } else {
      setAsked(true);
    }
  };
  return (
    <button type="button" class={`rn-button rn-small ${asked ? 'rn-danger' : ''}`} title={props.title}
      disabled={props.disabled} onClick={click} onBlur={() => setAsked(false)}>
      {asked ? 'Sure?' : props.label}
    </button>
  );
}

/** A button that is done at once. */
export function Do(props: { label: string; title: string; onClick: () => void }) {
  return (
    <button type="button" class="rn-button rn-small" title={props.title} onClick={event => {
      event.stopPropagation();
      props.onClick();
    }}>{props.label}</button>
  );
}

/** A button that opens a small menu; it closes on Escape, on a choice of `close`, and on a click elsewhere. */
export function Menu(props: { label: string; title: string; children: (close: () => void) => ComponentChildren }) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) {
      return undefined;
    }
    const away = (event: Event) => {
      if (!box.current?.contains(event.target as Node)) {
        setOpen(false);
      }
    };
    document.addEventListener('pointerdown', away);
    return () => document.removeEventListener('pointerdown', away);
  }, [open]);
  const close = () => {
    setOpen(false);
    box.current?.querySelector('button')?.focus();
  };
  return (
    <div class="rn-menu" ref={box} onKeyDown={event => {
      if (event.key === 'Escape' && open) {
        event.stopPropagation();
        close();
      }
    }}>
      <button type="button" class="rn-button" aria-expanded={open} title={props.title} aria-label={props.title}
        onClick={() => setOpen(!open)}>{props.label}</button>
      {open ? <div class="rn-menu-items">{props.children(close)}</div> : null}
    </div>
  );
}

/** One line of "what: value" pairs of a detail. */
export function Facts(props: { items: [string, ComponentChildren][] }) {
  const items = props.items.filter(([, value]) => value !== '' && value !== null && value !== undefined && value !== false);
  return (
    <dl class="rn-facts">
      {items.map(([what, value]) => <div key={what}><dt>{what}</dt><dd>{value}</dd></div>)}
    </dl>
  );
}

/** Text in which commands (%magic, call()) are set as code. */
export function Hint(props: { text: string }) {
  const parts = props.text.split(/(%%?\w+(?: (?:start|stop|restart|dashboard|debug|raynb))?|\braynb\.\w+\([^)]*\))/);
  return <>{parts.map((part, i) => (i % 2 ? <code key={i}>{part}</code> : part))}</>;
}
