"""What is in launch/ is linted, valid by its schemas, and rehearsed."""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import time

import jax.numpy as jnp
import kubeflow_trainer_api.models as jobsets
import kubernetes_validate
import pytest
import yaml

from lst import checkpoint, command, data, hosts, step
from lst import config as config_lib
from tests import runs

LAUNCH = runs.ROOT / 'launch'
SCRIPTS = sorted(LAUNCH.glob('*.sh'))
KUBERNETES = '1.31'


def loaded(name: str):
  return yaml.safe_load((LAUNCH / name).read_text())


def linted(linter: str, path) -> subprocess.CompletedProcess:
  # Beside this Python, also where its environment is not activated.
  folders = pathlib.Path(sys.executable).parent, os.environ['PATH']
  found = shutil.which(linter, path=os.pathsep.join(map(str, folders)))
  return subprocess.run(
      [found, path], capture_output=True, text=True, check=False)


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_clean_to_shellcheck(script):
  assert script.stat().st_mode & stat.S_IXUSR
  told = linted('shellcheck', script)
  assert told.returncode == 0, told.stdout


def test_the_container_is_clean_to_hadolint_and_copies_what_is_there(tmp_path):
  path = LAUNCH / 'Dockerfile'
  told = linted('hadolint', path)
  assert told.returncode == 0, told.stdout
  text = path.read_text()
  copied = [name for line in re.findall(r'^COPY (.*) \S+$', text, re.M)
            for name in line.split()]
  [entry] = re.findall(r'^ENTRYPOINT \["(.*)"\]$', text, re.M)
  for name in (*copied, entry):
    assert (runs.ROOT / name).exists(), name
  assert {'lst', 'setup.py', 'configs', pathlib.Path(entry).parts[0]} <= {
      *copied}
  bad = tmp_path / 'Dockerfile'
  bad.write_text(text.replace('USER 1000', 'USER root'))
  assert linted('hadolint', bad).returncode


def test_everything_in_launch_is_linted():
  assert {p.name for p in LAUNCH.iterdir()} == {
      'README.md', 'Dockerfile', 'jobset.yaml', 'workers.yaml', 'sky.yaml',
      *(script.name for script in SCRIPTS)}


def test_the_jobset_is_one_by_its_schema_and_its_job_by_that_of_kubernetes():
  manifest = loaded('jobset.yaml')
  read = jobsets.JobsetV1alpha2JobSet.from_dict(manifest)
  # Nothing was left out that the model does not know.
  assert set(manifest['spec']) <= {
      field.alias or name for name, field in
      jobsets.JobsetV1alpha2JobSetSpec.model_fields.items()}
  rule = read.spec.failure_policy.rules[0]
  assert rule.action == 'FailJobSet' and read.spec.failure_policy.max_restarts
  template = manifest['spec']['replicatedJobs'][0]['template']
  job = {'apiVersion': 'batch/v1', 'kind': 'Job',
         'metadata': {'name': 'slice'}, 'spec': template['spec']}
  kubernetes_validate.validate(job, KUBERNETES, strict=True)
  job['spec']['paralelism'] = 2
  with pytest.raises(kubernetes_validate.ValidationError):
    kubernetes_validate.validate(job, KUBERNETES, strict=True)


def test_the_fleet_is_a_job_by_the_schema():
  kubernetes_validate.validate(loaded('workers.yaml'), KUBERNETES, strict=True)


def pods():
  yield loaded('jobset.yaml')['spec']['replicatedJobs'][0]['template']['spec']
  yield loaded('workers.yaml')['spec']


@pytest.mark.parametrize('job', [*pods()], ids=['jobset', 'workers'])
def test_mistakes_end_a_job_and_preemptions_do_not(job):
  rule = job['podFailurePolicy']['rules'][0]
  assert rule['action'] == 'FailJob'
  codes = rule['onExitCodes']['values']
  assert codes == [command.STOPPED, command.USAGE]
  assert hosts.RESTART not in codes
  # The policy holds only for pods that are never restarted in place.
  assert job['template']['spec']['restartPolicy'] == 'Never'
  names = [c['name'] for c in job['template']['spec']['containers']]
  assert names == [rule['onExitCodes']['containerName']]


def test_flags_in_launch_exist():
  known = config_lib.flat(config_lib.default())
  for path in LAUNCH.iterdir():
    for field in re.findall(r'--config\.([\w.]+)=', path.read_text()):
      assert field in known, f'{path}: {field}'
    for file in re.findall(r'configs/\w+\.py', path.read_text()):
      assert (runs.ROOT / file).exists(), f'{path}: {file}'


def test_sky_recovers_by_our_status(tmp_path):
  task = loaded('sky.yaml')
  assert task['resources']['job_recovery']['recover_on_exit_codes'] == [
      hosts.RESTART]
  # Its shell is one that a linter knows.
  for part in ('setup', 'run'):
    script = tmp_path / f'{part}.sh'
    script.write_text(f'#!/usr/bin/env bash\n{task[part]}')
    told = linted('shellcheck', script)
    assert told.returncode == 0, told.stdout
  for name in re.findall(r'\$(\w+)', task['run']):
    assert name in task['envs'], name


# A gcloud that plays the states and statuses it finds in $PLAY, one a call,
# and writes down what it was asked. What $PLAY has under the name of a call is
# the error that it fails with, each time with one line of it.
GCLOUD = """#!/usr/bin/env bash
echo "$*" >>"$PLAY/calls"
next() { line=$(head -n 1 "$PLAY/$1"); sed -i 1d "$PLAY/$1"; echo "$line"; }
fail() { echo "ERROR: (gcloud) $1" >&2; exit "${2:-1}"; }
for call in create describe delete; do
  case "$*" in *" $call "*)
    if [ -s "$PLAY/$call" ]; then fail "$(next $call)" 3; fi ;;
  esac
done
case "$*" in
  *" create "*) touch "$PLAY/there" ;;
  *" delete "*)
    [ -e "$PLAY/there" ] || fail "NOT_FOUND: no such resource"
    rm "$PLAY/there" ;;
  *" describe "*)
    s=$(next states)
    [ "$s" != NONE ] || fail "NOT_FOUND: no such resource"
    echo "$s" ;;
  *ssh*install*) exit 0 ;;
  *ssh*) exit "$(next statuses)" ;;
esac
"""


def queued(
    folder: pathlib.Path, states: str, statuses: str, *arguments, **errors):
  """(status, calls, output) of launch/queued.sh against such a gcloud.

  `errors` are lines by the name of the call.
  """
  for call, lines in errors.items():
    (folder / call).write_text(''.join(f'{line}\n' for line in lines))
  (folder / 'bin').mkdir()
  gcloud = folder / 'bin' / 'gcloud'
  gcloud.write_text(GCLOUD)
  gcloud.chmod(0o755)
  (folder / 'states').write_text('\n'.join(states.split()) + '\n')
  (folder / 'statuses').write_text('\n'.join(statuses.split()) + '\n')
  done = subprocess.run(
      [LAUNCH / 'queued.sh', *arguments], capture_output=True, text=True,
      check=False, timeout=60, env={
          **os.environ, 'PATH': f'{folder / "bin"}:{os.environ["PATH"]}',
          'PLAY': str(folder), 'PROJECT': 'p', 'ZONE': 'z', 'BUCKET': 'b',
          'SOURCE': 'https://example.org/lst.git',
          'POLL': '0', 'ATTEMPTS': '3'})
  calls = folder / 'calls'
  return (done.returncode, calls.read_text() if calls.exists() else '',
          done.stdout + done.stderr)


COMMAND = 'my-run', '--config=configs/digits.py', '--config.sweep.lr=(1, 2)'


def test_queued_machines_that_are_taken_away_are_asked_for_again(tmp_path):
  # Two attempts: preempted while it runs, then to the end.
  states = 'WAITING_FOR_RESOURCES ACTIVE ACTIVE'
  status, calls, out = queued(tmp_path, states, '75 0', *COMMAND)
  assert status == 0, out
  assert calls.count('queued-resources create my-run') == 2
  assert '--spot' in calls and 'done: gs://b/runs/my-run/result.json' in out
  assert calls.count('launch/run.sh') == 2
  # One word to the shell of the machine, as it was here.
  assert r'--config.sweep.lr=\(1\,\ 2\)' in calls
  assert '--workdir=gs://b/runs/my-run --processes=auto' in calls
  assert calls.rstrip().endswith('--project=p --zone=z')


def test_a_mistake_ends_it_and_the_machines_are_given_back(tmp_path):
  status, calls, out = queued(
      tmp_path, 'ACTIVE ACTIVE', '2', *COMMAND)
  assert status == 2 and 'failed with status 2' in out
  assert calls.count('queued-resources create') == 1
  assert 'queued-resources delete my-run --force --quiet' in calls


def test_it_gives_up_with_the_status_to_start_again(tmp_path):
  status, calls, out = queued(tmp_path, 'FAILED NONE FAILED', '', *COMMAND)
  assert status == hosts.RESTART and 'gave up after 3 attempts' in out
  assert calls.count('queued-resources create') == 3
  assert 'may be left' not in out and not (tmp_path / 'there').exists()


@pytest.mark.parametrize('error', [
    'INVALID_ARGUMENT: no accelerator v5litepod-9', 'PERMISSION_DENIED: no',
    'RESOURCE_EXHAUSTED: Quota limit exceeded'])
def test_a_request_that_is_refused_ends_it_with_its_error(tmp_path, error):
  status, calls, out = queued(tmp_path, '', '', *COMMAND, create=[error])
  assert status == 3 and error in out and 'gave up' not in out
  assert calls.count('queued-resources create') == 1


def test_a_service_that_is_down_for_a_while_ends_nothing(tmp_path):
  down = 'UNAVAILABLE: try again'
  status, calls, out = queued(
      tmp_path, 'CREATING ACTIVE', '0', *COMMAND, create=[down],
      describe=[down] * 3)
  assert status == 0 and down in out, out
  assert calls.count('queued-resources create') == 2


@pytest.mark.parametrize('errors', [
    {'delete': ['UNAVAILABLE: try again'], 'create': ['ALREADY_EXISTS: it is']},
    {'create': ['There was a problem refreshing your current auth tokens']}])
def test_what_passes_by_itself_is_waited_for(tmp_path, errors):
  status, _, out = queued(
      tmp_path, 'CREATING ACTIVE', '0', *COMMAND, **errors)
  assert status == 0, out


def test_a_quota_that_machines_just_taken_away_still_fill_is_waited_for(
    tmp_path):
  used = 'RESOURCE_EXHAUSTED: Quota limit exceeded'
  status, calls, out = queued(
      tmp_path, 'ACTIVE', '0', *COMMAND, create=['INTERNAL: no', used])
  assert status == 0 and used in out, out
  assert calls.count('queued-resources create') == 3


def test_machines_of_which_nothing_can_be_told_are_deleted_too(tmp_path):
  """By a login that has expired: they are there, and they cost."""
  expired = 'UNAUTHENTICATED: log in again'
  status, calls, out = queued(
      tmp_path, 'ACTIVE ACTIVE', '2', *COMMAND, delete=[expired] * 2)
  assert status == 2 and (tmp_path / 'there').exists()
  command = ('gcloud compute tpus queued-resources delete my-run --force '
             '--quiet --project=p --zone=z')
  assert out.count(expired) == out.count(command) == 2
  (tmp_path / 'bin' / 'gcloud').unlink()
  (tmp_path / 'bin').rmdir()
  status, calls, out = queued(
      tmp_path, '', '', *COMMAND, describe=[expired] * 40)
  assert status == hosts.RESTART and expired in out
  assert calls.rstrip().split('\n')[-1].startswith(
      'compute tpus queued-resources delete my-run')
  assert not (tmp_path / 'there').exists()


@pytest.mark.parametrize('arguments', [(), ('my-run',), ('--config=x', 'y')])
def test_queued_says_how_to_call_it(arguments, tmp_path):
  status, calls, out = queued(tmp_path, '', '', *arguments)
  assert status == 2 and 'usage:' in out and not calls


# A Python that writes down what it was asked; of a version that fits, or not.
PYTHON = """#!/usr/bin/env bash
[ "$1" = -c ] && exit {status}
echo "$0 $*" >>"$PLAY/calls"
if [ "$2" = venv ]; then mkdir -p "$4/bin" && cp "$0" "$4/bin/python"; fi
"""


@pytest.mark.parametrize(('fit', 'expected'), [
    ({'python3.12': 0, 'python3': 0}, ['python3.12 -m venv']),
    ({'python3.11': 0}, ['python3.11 -m venv']),
    # Ubuntu 22.04 has 3.10, and 3.11 to be installed.
    ({}, ['apt-get -qq update',
          'apt-get -qq install -y python3.11 python3.11-venv',
          'python3.11 -m venv'])])
def test_a_machine_gets_a_python_that_is_new_enough(tmp_path, fit, expected):
  (tmp_path / 'bin').mkdir()
  for name in ('python3.13', 'python3.12', 'python3.11', 'python3'):
    file = tmp_path / 'bin' / name
    file.write_text(PYTHON.format(status=fit.get(name, 1)))
    file.chmod(0o755)
  sudo = tmp_path / 'bin' / 'sudo'
  sudo.write_text('#!/usr/bin/env bash\necho "$*" >>"$PLAY/calls"\n')
  sudo.chmod(0o755)
  venv = tmp_path / 'venv'
  subprocess.run(
      [LAUNCH / 'install.sh', 'tpu'], check=True, timeout=60, env={
          **os.environ, 'PATH': f'{tmp_path / "bin"}:{os.environ["PATH"]}',
          'PLAY': str(tmp_path), 'VENV': str(venv)})
  calls = (tmp_path / 'calls').read_text().replace(f'{tmp_path}/bin/', '')
  wanted = [*expected[:-1], f'{expected[-1]} --clear {venv}',
            f'{venv}/bin/python -m pip install -q -e .[cloud] jax[tpu]']
  assert calls.splitlines() == wanted


# A bucket that is a folder. What goes there goes file by file, by name, and
# ends after as many as $PLAY/cut says.
BUCKET = r"""#!/usr/bin/env bash
here() { echo "${1/#gs:\/\//$PLAY/}"; }
case "$*" in
  "storage ls"*) [ -d "$(here "$3")" ] ;;
  "storage rsync"*)
    from=$(here "${@: -2:1}") to=$(here "${@: -1}") without='^$'
    for flag in "$@"; do
      case $flag in --exclude=*) without="^${flag#--exclude=}" ;; esac
    done
    left=-1
    case "${@: -1}" in
      gs://*) left=$(cat "$PLAY/cut" 2>/dev/null || echo -1) ;;
    esac
    mkdir -p "$to" && cd "$from"
    for file in $(find . -type f -printf '%P\n' | grep -Ev "$without" |
      LC_ALL=C sort); do
      [ "$left" = 0 ] && exit 1
      cp -p --parents "$file" "$to"
      left=$((left - 1))
    done ;;
esac
"""
# A suite that does one more task a call, and saves when it is told to leave.
TASK = """#!/usr/bin/env bash
echo "$@" >>"$PLAY/calls"
for flag in "$@"; do
  case $flag in
    --workdir=*) runs=${flag#--workdir=} ;;
    --path=*) cat "${flag#--path=}/images" >/dev/null || exit 1 ;;
  esac
done
(cd "$runs" && find . -type f -path '*/checkpoints/*') >"$PLAY/found"
if [ -e "$PLAY/saves" ]; then
  mkdir -p "$runs/one/checkpoints/500/state"
  touch "$runs/one/checkpoints/500/"{_CHECKPOINT_METADATA,state/x,state/y}
fi
echo done >"$runs/task$(find "$runs" -name 'task*' | wc -l)"
if [ -e "$PLAY/slow" ]; then
  trap 'kill $!; sleep 0.5; echo saved >"$runs/saved"; exit 75' TERM
  sleep 60 >/dev/null 2>&1 &
  wait
fi
exit "$(cat "$PLAY/status")"
"""


def suite(folder: pathlib.Path, *arguments) -> subprocess.Popen:
  """launch/suite.sh on a new machine, with such a bucket and suite."""
  for name, text in (('gcloud', BUCKET), ('python', TASK)):
    path = folder / 'bin' / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
  machine = folder / f'machine{len(list(folder.glob("machine*")))}'
  machine.mkdir()
  return subprocess.Popen(
      [LAUNCH / 'suite.sh', *arguments], text=True, stderr=subprocess.PIPE,
      env={**os.environ, 'PATH': f'{folder / "bin"}:{os.environ["PATH"]}',
           'PLAY': str(folder), 'PYTHON': 'python', 'POLL': '0.1',
           'EVERY': '0', 'HOME': str(machine)})


def told(process: subprocess.Popen) -> tuple[int, str]:
  errors = process.communicate(timeout=30)[1]
  return process.returncode, errors


SUITE = ('--workdir=gs://b/runs/vtab', '--config=configs/suite.py',
         '--suite=vtab', '--path=gs://b/vtab', '--processes=auto')


def test_a_suite_goes_on_on_another_machine_with_what_the_bucket_has(tmp_path):
  (tmp_path / 'b' / 'vtab').mkdir(parents=True)
  (tmp_path / 'b' / 'vtab' / 'images').write_text('')
  (tmp_path / 'status').write_text('0')
  runs_there = tmp_path / 'b' / 'runs' / 'vtab'
  # Taken away in the middle of the first task.
  (tmp_path / 'slow').write_text('')
  first = suite(tmp_path, *SUITE)
  for _ in range(200):
    if (runs_there / 'task0').exists():
      break
    time.sleep(0.05)
  first.terminate()
  assert told(first)[0] == hosts.RESTART
  (tmp_path / 'slow').unlink()
  status, errors = told(suite(tmp_path, *SUITE))
  assert status == 0, errors
  # It had the time to save, and that was waited for.
  assert {p.name for p in runs_there.iterdir()} == {'task0', 'task1', 'saved'}
  call = (tmp_path / 'calls').read_text().splitlines()[-1]
  assert call.startswith('-m lst.vtab run --config=configs/suite.py')
  assert '--processes' not in call and 'gs://' not in call


def test_half_a_checkpoint_is_none_to_another_machine(tmp_path):
  """It went to the bucket file by file, and the machine was gone midway."""
  there = tmp_path / 'b' / 'runs' / 'vtab' / 'one' / 'checkpoints' / '500'
  (tmp_path / 'status').write_text('0')
  (tmp_path / 'saves').touch()
  (tmp_path / 'cut').write_text('1')
  _, errors = told(suite(tmp_path, *SUITE[:3]))
  assert 'not copied' in errors
  assert {p.name for p in there.rglob('*') if p.is_file()} == {'x'}
  for file in ('saves', 'cut'):
    (tmp_path / file).unlink()
  status, errors = told(suite(tmp_path, *SUITE[:3]))
  assert status == 0 and not (tmp_path / 'found').read_text(), errors
  # It is saved anew, and taken up by the third as it was left.
  (tmp_path / 'saves').touch()
  for _ in range(2):
    assert told(suite(tmp_path, *SUITE[:3]))[0] == 0
  assert {*(tmp_path / 'found').read_text().split()} == {
      f'./one/checkpoints/500/{x}'
      for x in ('_CHECKPOINT_METADATA', 'state/x', 'state/y')}


def test_a_checkpoint_has_the_mark_that_goes_last(tmp_path):
  [mark] = re.findall('^mark=(.*)$', (LAUNCH / 'suite.sh').read_text(), re.M)
  position = data.Position(500, 0, 8, 16, 'train')
  state = step.TrainState(jnp.int32(500), {'w': jnp.ones(3)}, ())
  with checkpoint.manager(tmp_path) as checkpoints:
    checkpoint.save(checkpoints, state, position, 1.0, None)
  assert (tmp_path / 'checkpoints' / '500' / mark).is_file()


def test_a_suite_ends_with_its_own_status_and_says_how_to_call_it(tmp_path):
  (tmp_path / 'status').write_text('1')
  assert told(suite(tmp_path, SUITE[0], SUITE[1]))[0] == 1
  assert (tmp_path / 'b' / 'runs' / 'vtab' / 'task0').exists()
  status, errors = told(suite(tmp_path, '--config=configs/suite.py'))
  assert status == 2 and 'usage:' in errors


def test_queued_machines_may_run_a_suite(tmp_path, monkeypatch):
  monkeypatch.setenv('ENTRY', 'launch/suite.sh')
  status, calls, out = queued(
      tmp_path, 'ACTIVE', '0', 'vtab', *SUITE[1:4])
  assert status == 0, out
  assert 'launch/suite.sh --config=configs/suite.py --suite=vtab' in calls
