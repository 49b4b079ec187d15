/** The widget in the notebook (anywidget): the same views, carried by the widget's own comm. */

import { Dashboard, Tab, TABS } from './ui/app';

interface Model {
  get(name: string): any;
  send(message: unknown): void;
  on(event: string, handler: (message: any) => void): void;
  off(event: string, handler: (message: any) => void): void;
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const first = model.get('tab') as Tab;
  const board = new Dashboard({ send: message => model.send(message) }, TABS.includes(first) ? first : 'overview');
  const receive = (message: any) => board.receive(message);
  model.on('msg:custom', receive);
  board.mount(el);
  return () => {
    model.off('msg:custom', receive);
    board.unmount();
  };
}

export default { render };
