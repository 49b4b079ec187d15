/** Which cell took what from which: the picture of `%raynb graph`, kept up to date; a click goes to the cell. */

import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { GraphReply } from './messages';
import { Empty, Looking } from './parts';
import { ViewProps } from './view';

const ASK_MS = 3000;

/** Bubbles from a box that was chosen; its detail is the front end's id of the cell. The page goes there, if it can. */
export const GO_TO_CELL = 'raynb:cell';

export function Cells(props: ViewProps) {
  const { ask, picture } = props;
  const [markup, setMarkup] = useState<string | null>(null);
  const root = useRef<HTMLDivElement>(null);
  const focused = useRef<string | null>(null); // the cell whose box has the focus
  useEffect(() => {
    let gone = false;
    const look = () => void ask<GraphReply>({ do: 'graph' }).then(found => {
      if (!gone) {
        const at = document.activeElement;
        focused.current = root.current?.contains(at) ? at!.getAttribute('data-cell') : null;
        setMarkup(before => (found.ok ? found.markup : before ?? ''));
      }
    });
    look();
    const timer = setInterval(look, ASK_MS);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [picture.graph]);
  useLayoutEffect(() => { // with the picture itself: nobody meets boxes that are no buttons yet
    root.current?.querySelector('svg')?.setAttribute('role', 'group'); // a picture has no buttons
    root.current?.querySelectorAll<SVGElement>('[data-cell]').forEach(box => {
      box.setAttribute('tabindex', '0');
      box.setAttribute('role', 'button');
      if (box.getAttribute('data-cell') === focused.current) {
        box.focus({ preventScroll: true }); // it is a new one in the place of that
      }
    });
  }, [markup]);
  const go = (event: Event) => {
    const box = (event.target as Element).closest('[data-cell]');
    if (box) {
      box.dispatchEvent(new CustomEvent(GO_TO_CELL, { bubbles: true, detail: box.getAttribute('data-cell') }));
    }
  };
  const keys = (event: KeyboardEvent) => {
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      go(event);
    }
  };
  if (markup === null) {
    return <Looking />;
  }
  if (!markup) {
    return <Empty title="no cells yet">Cells that submit tasks are here, with what each took from the others.</Empty>;
  }
  return (
    <div class="rn-cells" ref={root} onClick={go} onKeyDown={keys}
      dangerouslySetInnerHTML={{ __html: markup }} />
  );
}
