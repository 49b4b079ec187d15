/** Every raynb runtime of this user on this machine, whichever notebook it belongs to. */

import { useEffect, useState } from 'preact/hooks';
import { bytes, count, counted, seconds } from './format';
import { KernelInfo, KernelsReply } from './messages';
import { Empty, Facts, Looking, Meter, Sure } from './parts';
import { Column, Table } from './table';
import { kept } from './tables';
import { ViewProps } from './view';

const ASK_MS = 2000;

const figure = (value: number) => String(+value.toFixed(1));

/** "3 of 4", and what of these is lent by others. */
const slots = (kernel: KernelInfo) => `${figure(kernel.busy)} of ${figure(kernel.cpus)}`;
const borrowed = (kernel: KernelInfo) => Math.max(0, kernel.cpus - kernel.base);

export function Kernels(props: ViewProps) {
  const { ask, act } = props;
  const [reply, setReply] = useState<KernelsReply | null>(null);
  const [why, setWhy] = useState('');
  const [again, setAgain] = useState(0);
  useEffect(() => {
    let gone = false;
    const look = () => void ask<KernelsReply>({ do: 'kernels' }).then(found => {
      if (!gone) {
        setReply(found.ok ? found : null);
        setWhy(found.ok ? '' : found.text);
      }
    });
    look();
    const timer = setInterval(look, ASK_MS);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [again]);
  if (!reply) {
    return why ? <Empty title="not known">{why}</Empty> : <Looking />;
  }
  const { kernels } = reply;
  if (!kernels.length) {
    return <Empty title="no runtimes">No runtime of yours is running on this machine.</Empty>;
  }
  const title = (kernel: KernelInfo) => props.document(kernel.kernel) || kernel.name;
  const name = (kernel: KernelInfo) => <span class="rn-name" title={title(kernel)}>{title(kernel)}</span>;
  const marks = (kernel: KernelInfo) =>
    [kernel.own ? 'this notebook' : '', borrowed(kernel) ? `${figure(borrowed(kernel))} slots borrowed` : ''].filter(Boolean);
  const stop = async (kernel: KernelInfo) => {
    await act(kernel.own ? { do: 'stop' } : { do: 'stop_kernel', key: kernel.key });
    setAgain(again + 1);
  };
  const button = (kernel: KernelInfo) => (
    <Sure label="Stop" title={`Stop the runtime of ${title(kernel)}; what runs is cancelled and refs are gone, the kernel goes on`}
      onClick={() => void stop(kernel)} />
  );
  const store = (kernel: KernelInfo) => `${bytes(kernel.store_used)} of ${bytes(kernel.store)}`;
  const columns: Column<KernelInfo>[] = [
    { key: 'name', title: 'Notebook', min: 110, grow: 2, priority: 1, value: title, cell: kernel => <span class="rn-name" title={title(kernel)}><span class="rn-dim">{marks(kernel).map(mark => `${mark} · `)}</span>{title(kernel)}</span> },
    { key: 'cpus', title: 'CPU slots', min: 92, grow: 0, priority: 1, right: true, value: kernel => kernel.busy, cell: slots },
    { key: 'tasks', title: 'Tasks', min: 62, grow: 0, priority: 3, right: true, value: kernel => kernel.unfinished, cell: kernel => count(kernel.unfinished) },
    { key: 'memory', title: 'Memory', min: 72, grow: 0, priority: 4, right: true, value: kernel => kernel.memory, cell: kernel => bytes(kernel.memory) },
    { key: 'store', title: 'Store', min: 134, grow: 0, priority: 5, right: true, value: kernel => kernel.store_used, cell: store },
    { key: 'pid', title: 'Process', min: 70, grow: 0, priority: 6, right: true, value: kernel => kernel.pid, cell: kernel => kernel.pid },
    { key: 'do', title: '', min: 60, grow: 0, priority: 2, right: true, cell: button }
  ];
  const offered = kernels.reduce((sum, kernel) => sum + kernel.store, 0);
  const used = reply.memory_total - reply.memory_available;
  return (
    <div class={props.fill ? 'rn-column' : ''}>
      <div class="rn-machine">
        <div class="rn-note rn-split">
          <span>This machine: {counted(reply.cores, 'core')}</span>
          <span>memory: {bytes(used)} of {bytes(reply.memory_total)}</span>
        </div>
        <Meter parts={[{ class: 'rn-s-RUNNING', value: used, label: 'in use' }]} whole={reply.memory_total}
          label={`${bytes(used)} of ${bytes(reply.memory_total)} of memory in use; the stores may hold ${bytes(offered)} in all`} />
      </div>
      <Table {...kept(props, 'kernels')} what="runtime" order="oldest first" label="Runtimes" columns={columns} rows={kernels} id={kernel => kernel.key}
        lines={kernel => ({
          title: name(kernel), figure: slots(kernel), actions: button(kernel),
          about: [...marks(kernel), counted(kernel.unfinished, 'task'), bytes(kernel.memory)].join(' · ')
        })}
        detail={kernel => (
          <div class="rn-more">
            <Facts items={[
              ['CPU slots busy', slots(kernel)], ['its own', figure(kernel.base)],
              ['borrowed', borrowed(kernel) ? figure(borrowed(kernel)) : ''],
              ['shares slots', kernel.share === 'fair' ? 'yes (Raynb.share)' : 'no'], ['unfinished tasks', count(kernel.unfinished)],
              ['memory of its workers', bytes(kernel.memory)], ['store', store(kernel)], ['on disk', kernel.spilled ? bytes(kernel.spilled) : ''],
              ['process', kernel.pid], ['running for', seconds(Math.max(0, Date.now() / 1000 - kernel.started))]
            ]} />
          </div>
        )} />
    </div>
  );
}
