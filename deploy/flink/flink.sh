#!/usr/bin/env bash
# A Flink session cluster on this machine, and what Beam needs beside it, each a process of its own.
#   flink.sh get          fetch the jars (once; 152 MB from Maven's registry)
#   flink.sh lib          print the folder of the jars
#   flink.sh up           start all four and wait; Ctrl-C ends them
#   flink.sh jobmanager | taskmanager | jobserver | workers
#                         one of them, in the foreground
# Ports: FLINK_REST_PORT 8081, FLINK_RPC_PORT 6123, BEAM_JOB_PORT 8099, BEAM_WORKERS_PORT 8100.
# Folders: FLINK_LIB for the jars, FLINK_RUN for checkpoints and logs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)

lib=${FLINK_LIB:-${XDG_CACHE_HOME:-$HOME/.cache}/currents-flink/beam-2.62.0-flink-1.19}
run=${FLINK_RUN:-$here/.run}
rest_port=${FLINK_REST_PORT:-8081}
rpc_port=${FLINK_RPC_PORT:-6123}
job_port=${BEAM_JOB_PORT:-8099}
workers_port=${BEAM_WORKERS_PORT:-8100}
host=127.0.0.1
python=${PYTHON:-$project/.venv/bin/python}

# What Flink 1.19 and Beam reach into on Java 17.
opens=()
for package in java.lang java.lang.invoke java.io java.net java.nio java.time java.util \
  java.util.concurrent java.util.concurrent.atomic; do
  opens+=("--add-opens=java.base/$package=ALL-UNNAMED")
done
cluster=(
  "-Djobmanager.rpc.address=$host" "-Djobmanager.rpc.port=$rpc_port" "-Djobmanager.bind-host=$host"
  "-Dtaskmanager.host=$host" "-Dtaskmanager.bind-host=$host"
  "-Drest.address=$host" "-Drest.bind-address=$host" "-Drest.port=$rest_port"
  "-Dstate.checkpoints.dir=file://$run/checkpoints" "-Dio.tmp.dirs=$run/tmp"
)
# Flink's own scripts work these out from the process's size.
taskmanager_memory=(
  -Dtaskmanager.cpu.cores=2.0
  -Dtaskmanager.memory.framework.heap.size=134217728b
  -Dtaskmanager.memory.framework.off-heap.size=134217728b
  -Dtaskmanager.memory.task.heap.size=536870912b
  -Dtaskmanager.memory.task.off-heap.size=0b
  -Dtaskmanager.memory.managed.size=134217728b
  -Dtaskmanager.memory.network.min=134217728b
  -Dtaskmanager.memory.network.max=134217728b
  -Dtaskmanager.memory.jvm-metaspace.size=268435456b
  -Dtaskmanager.memory.jvm-overhead.min=201326592b
  -Dtaskmanager.memory.jvm-overhead.max=201326592b
)

get() {
  mkdir -p "$lib"
  if [ ! -e "$lib/complete" ]; then
    mvn --quiet --batch-mode --file "$here/pom.xml" dependency:copy-dependencies \
      "-DoutputDirectory=$lib"
    touch "$lib/complete"
  fi
  if [ ! -e "$lib/nothing.jar" ]; then # staged with each job in place of all jars
    "$python" -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1], "w").writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n\n")' \
      "$lib/nothing.jar"
  fi
}

start_java() { # heap, then the class and its arguments
  mkdir -p "$run/tmp"
  exec java "-Xmx$1" -XX:+UseSerialGC "${opens[@]}" \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
    -Dorg.slf4j.simpleLogger.showDateTime=true \
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS" \
    -Dorg.slf4j.simpleLogger.log.org.apache.flink.runtime.executiongraph=info \
    -Dorg.slf4j.simpleLogger.log.org.apache.flink.runtime.checkpoint=info \
    -cp "$lib/*" "${@:2}"
}

start() {
  case $1 in
    jobmanager)
      start_java 800m org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint \
        --configDir "$here/conf" --executionMode cluster "${cluster[@]}"
      ;;
    taskmanager)
      start_java 900m org.apache.flink.runtime.taskexecutor.TaskManagerRunner \
        --configDir "$here/conf" "${cluster[@]}" "${taskmanager_memory[@]}"
      ;;
    jobserver)
      start_java 500m org.apache.beam.runners.flink.FlinkJobServerDriver \
        "--flink-master=$host:$rest_port" "--flink-conf-dir=$here/conf" \
        "--job-host=$host" "--job-port=$job_port" --artifact-port=0 --expansion-port=0 \
        "--artifacts-dir=$run/artifacts"
      ;;
    workers) # a pool: it starts one Python worker for each TaskManager and job that asks
      cd "$project"
      # The pool calls "python", and ends its workers when it ends itself, but not of a SIGTERM.
      PATH=$(dirname "$python"):$PATH exec "$python" -c '
import signal, sys
from apache_beam.runners.worker import worker_pool_main
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
worker_pool_main.main(sys.argv[1:])' "--service_port=$workers_port"
      ;;
  esac
}

up() {
  get
  mkdir -p "$run"
  trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
  trap 'exit 130' INT TERM
  local name
  for name in jobmanager taskmanager jobserver workers; do
    "$here/flink.sh" "$name" >"$run/$name.log" 2>&1 &
    echo "$name: process $!, log $run/$name.log"
  done
  echo "Flink's page: http://$host:$rest_port; jobs go to --job_endpoint=$host:$job_port"
  wait -n
  echo "one of them has ended: see the logs" >&2
  return 1
}

case ${1:-} in
  get | up) "$1" ;;
  lib) echo "$lib" ;;
  jobmanager | taskmanager | jobserver | workers) start "$1" ;;
  *)
    sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
