/** Which cell took what from which: the picture of `%raynb graph`, kept up to date; a click goes to the cell. */

import { useEffect, useRef, useState } from 'preact/hooks';
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
  useEffect(() => {
    let gone = false;
    const look = () => void ask<GraphReply>({ do: 'graph' }).then(found => {
      if (!gone) {
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
  useEffect(() => {
    root.current?.querySelector('svg')?.setAttribute('role', 'group'); // a picture has no buttons
    root.current?.querySelectorAll('[data-cell]').forEach(box => {
      box.setAttribute('tabindex', '0');
      box.setAttribute('role', 'button');
    });
  }, [markup]);
  const go = (event: Event) => {
    const box = (event.target as Element).closest('[data-cell]');
    if (box) {
      box.dispatchEvent(new CustomEvent(GO_TO_CELL, { bubbles: true, detail: box.getAttribute('data-cell') }));
    }
  };
  if (markup === null) {
    return <Looking />;
  }
  if (!markup) {
    return <Empty title="no cells yet">Cells that submit tasks are here, with what each took from the others.</Empty>;
  }
  return (
    <div class="rn-cells" ref={root} onClick={go} onKeyDown={event => (event.key === 'Enter' ? go(event) : undefined)}
      dangerouslySetInnerHTML={{ __html: markup }} />
  );
}
