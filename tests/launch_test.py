"""What is in launch/ is linted, valid by its schemas, and rehearsed."""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys

import kubeflow_trainer_api.models as jobsets
import kubernetes_validate
import pytest
import yaml

from lst import config as config_lib
from lst import hosts, main
from tests import runs

LAUNCH = runs.ROOT / 'launch'
SCRIPTS = sorted(LAUNCH.glob('*.sh'))
KUBERNETES = '1.31'


def loaded(name: str):
  return yaml.safe_load((LAUNCH / name).read_text())


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_clean_to_shellcheck(script):
  assert script.stat().st_mode & stat.S_IXUSR
  # Beside this Python, also where its environment is not activated.
  folders = pathlib.Path(sys.executable).parent, os.environ['PATH']
  shellcheck = shutil.which(
      'shellcheck', path=os.pathsep.join(map(str, folders)))
  told = subprocess.run(
      [shellcheck, script], capture_output=True, text=True, check=False)
  assert told.returncode == 0, told.stdout


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
  assert codes == [main.STOPPED, main.USAGE] and hosts.RESTART not in codes
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


def test_sky_recovers_by_our_status():
  task = loaded('sky.yaml')
  assert task['resources']['job_recovery']['recover_on_exit_codes'] == [
      hosts.RESTART]
  for name in re.findall(r'\$(\w+)', task['run']):
    assert name in task['envs'], name


# A gcloud that plays the states and statuses it finds in $PLAY, one a call,
# and writes down what it was asked.
GCLOUD = """#!/usr/bin/env bash
echo "$*" >>"$PLAY/calls"
next() { line=$(head -n 1 "$PLAY/$1"); sed -i 1d "$PLAY/$1"; echo "$line"; }
case "$*" in
  *describe*) s=$(next states); [ "$s" = NONE ] && exit 1; echo "$s" ;;
  *ssh*install*) exit 0 ;;
  *ssh*) exit "$(next statuses)" ;;
esac
"""


def queued(folder: pathlib.Path, states: str, statuses: str, *arguments):
  """(status, calls, output) of launch/queued.sh against such a gcloud."""
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
  states = ('NONE WAITING_FOR_RESOURCES ACTIVE '
            'SUSPENDED ACTIVE ACTIVE')
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
      tmp_path, 'NONE ACTIVE ACTIVE ACTIVE', '2', *COMMAND)
  assert status == 2 and 'failed with status 2' in out
  assert calls.count('queued-resources create') == 1
  assert 'queued-resources delete my-run --force --quiet' in calls


def test_it_gives_up_with_the_status_to_start_again(tmp_path):
  status, calls, _ = queued(tmp_path, 'NONE FAILED ' * 4, '', *COMMAND)
  assert status == hosts.RESTART
  assert calls.count('queued-resources create') == 3


@pytest.mark.parametrize('arguments', [(), ('my-run',), ('--config=x', 'y')])
def test_queued_says_how_to_call_it(arguments, tmp_path):
  status, calls, out = queued(tmp_path, '', '', *arguments)
  assert status == 2 and 'usage:' in out and not calls
