# The same for every sweep from here on. First come the settings above.
say() { echo "adaptertune job ${SLURM_JOB_ID}: $*" >&2; }

# --- signals: USR1 before the time limit; TERM when Slurm ends the job (preemption, a failed node, scancel) ---
driver=""   # its process, once it runs
stopping="" # limit or slurm
guards=()   # they kill a driver that does not end in time

kill_later() { # SECONDS PROCESS, or minus its group: one process, which can be killed with its wait
  exec "$programs/python" -c 'import os, sys, time
time.sleep(float(sys.argv[1]))
os.kill(int(sys.argv[2]), 9)' "$@" >/dev/null 2>&1
}

stop_driver() { # limit|slurm SECONDS
  stopping=$1
  if [ -n "$driver" ]; then
    kill -TERM "$driver" 2>/dev/null
    (kill_later "$2" "$driver") &
    guards+=($!)
    disown "$!"
  fi
}
trap 'stop_driver limit "$stop_within_s"' USR1
trap 'stop_driver slurm "$killed_after_s"' TERM

# --- Ray: its own ports, folder and token, so that several jobs may share a node ---
head="" workers="" ray_folder=""
# Slurm sends SIGTERM to all processes of the job at once. Ray's do not get it, so that the driver can still save
# the running trials; SIGKILL to their process group ends them.
shielded='import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.setsid()
os.execv(sys.argv[1], sys.argv[1:])'

ray_node() { # FOLDER and the options of the head, or of another node
  local folder=$1
  shift
  exec "$programs/python" -c "$shielded" "$programs/ray" start "$@" --temp-dir "$folder" --num-cpus "$cpus" \
    --num-gpus "$gpus" "${object_store[@]}" --disable-usage-stats --block
}

missed_its_start() { # FILE: Ray gives a node 30 seconds; on a busy node, or from a slow disk, that is too short
  grep -q "timed out during startup" "$1"
}

# shellcheck disable=SC2317,SC2329 # it is called by the steps of srun
ray_worker() { # runs on each of the other nodes, until USR1, some seconds after TERM, or until its Ray ends
  local folder process code ending="" guard="" deadline=$((SECONDS + wait_s))
  folder=$(mktemp -d "$ray_root/at-XXXXXXXX") || exit 1
  while
    (ray_node "$folder" --address "$address") >"$folder/ray.txt" 2>&1 &
    process=$!
    trap 'ending=1; kill -KILL -- "-$process" "$process" 2>/dev/null' USR1
    trap 'ending=1; (kill_later "$killed_after_s" "-$process") & guard=$!' TERM
    [ -z "$ending" ] || kill -KILL -- "-$process" "$process" 2>/dev/null
    while
      wait "$process"
      code=$?
      kill -0 "$process" 2>/dev/null
    do :; done
    cat "$folder/ray.txt"
    [ -z "$ending" ] && [ "$SECONDS" -lt "$deadline" ] && missed_its_start "$folder/ray.txt"
  do kill -KILL -- "-$process" 2>/dev/null; done
  [ -z "$guard" ] || kill -KILL "$guard"
  rm -rf "$folder"
  exit "$code"
}

end_ray() {
  local waited
  if [ -n "$workers" ]; then
    kill -USR1 "$workers" 2>/dev/null # srun passes it on to its tasks; at TERM it would kill them
    for ((waited = 0; waited < 100; waited++)); do
      kill -0 "$workers" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$workers" 2>/dev/null
  fi
  if [ -n "$head" ]; then
    kill -KILL -- "-$head" "$head" 2>/dev/null
    for ((waited = 0; waited < 50; waited++)); do
      kill -0 -- "-$head" 2>/dev/null || break
      sleep 0.1
    done
  fi
  [ -z "$ray_folder" ] || rm -rf "$ray_folder"
}

finish() { # CODE
  local guard
  end_ray
  for guard in "${guards[@]}"; do kill "$guard" 2>/dev/null; done
  if [ "$stopping" = slurm ]; then
    say "Slurm ends this attempt; if it was not cancelled, it continues with 'adaptertune resume'"
  elif [ "$1" -eq 75 ] || { [ "$stopping" = limit ] && [ "$1" -ne 0 ]; }; then
    say "back into the queue; the sweep continues from what is saved"
    trap '' TERM
    scontrol requeue "$SLURM_JOB_ID" || say "the job cannot be requeued; submit it again with --resume"
  fi
  exit "$1"
}

fail() { # MESSAGE FILE
  say "$1"
  tail -n 30 "$2" >&2
  finish 1
}

set -e
setup
set +e

unset RAY_ADDRESS
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_agent_register_timeout_ms=120000 # Ray's 15 s are too few where it is loaded over a slow file system
export RAY_worker_niceness=${RAY_worker_niceness:-0} # Ray's is 15: on a shared node its trials would get little
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
ray_root=${RAY_TMPDIR:-/tmp} # short, because the paths of sockets have a limit
ray_folder=$(mktemp -d "$ray_root/at-XXXXXXXX") || exit 1
free_port='import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'

start_head() {
  local client=() # Ray Client is always started where there is grpc; where there is none, Ray refuses the option
  if "$programs/python" -c 'import grpc' 2>/dev/null; then
    client=(--ray-client-server-port "$("$programs/python" -c "$free_port")")
  fi
  (ray_node "$ray_folder" --head --port 0 "${client[@]}" --include-dashboard false) >"$ray_folder/head.txt" 2>&1 &
  head=$!
  disown "$head" # bash says nothing when it is killed
}

start_head
deadline=$((SECONDS + wait_s))
until [ -s "$ray_folder/ray_current_cluster" ]; do
  [ -z "$stopping" ] || finish 75
  if ! kill -0 "$head" 2>/dev/null; then
    missed_its_start "$ray_folder/head.txt" || fail "Ray did not start on ${SLURMD_NODENAME}:" "$ray_folder/head.txt"
    say "Ray did not start within its 30 s on ${SLURMD_NODENAME}; it is started again"
    kill -KILL -- "-$head" 2>/dev/null
    start_head
  fi
  [ "$SECONDS" -lt "$deadline" ] || fail "Ray did not start within $wait_s s:" "$ray_folder/head.txt"
  sleep 0.2
done
address=$(<"$ray_folder/ray_current_cluster")

if [ "$nodes" -gt 1 ]; then
  srun --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --ntasks-per-node=1 --cpus-per-task="$cpus" \
    --exclude="$SLURMD_NODENAME" --export=ALL --kill-on-bad-exit=0 \
    bash -c "$(declare -f ray_node ray_worker missed_its_start kill_later)
      $(declare -p programs cpus gpus object_store ray_root address shielded killed_after_s wait_s)
      ray_worker" >"$ray_folder/workers.txt" 2>&1 &
  workers=$!
  disown "$workers"
  "$programs/python" -P -m cluster.wait_for_nodes "$address" "$nodes" "$wait_s" &
  waiting=$!
  while kill -0 "$waiting" 2>/dev/null && [ -z "$stopping" ]; do
    kill -0 "$workers" 2>/dev/null || break
    sleep 0.2
  done
  if [ -n "$stopping" ]; then
    kill -KILL "$waiting" 2>/dev/null
    finish 75
  fi
  kill -0 "$workers" 2>/dev/null || {
    kill -KILL "$waiting" 2>/dev/null
    fail "Ray did not start on the other nodes:" "$ray_folder/workers.txt"
  }
  wait "$waiting" || fail "the nodes cannot be counted:" "$ray_folder/head.txt"
fi

# --- the driver ---
# A new experiment is launched once. When the job starts again, the record of its first attempt is there. The driver
# of that may still be alive on a node that Slurm no longer reaches: it then stops, and this one takes over.
record=$storage/$name/ledger.jsonl
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [ -e "$record" ]; then
  command=(resume "$name" --take-over)
elif [ "$new" = 0 ]; then
  command=(resume "$name")
else
  write_experiment >"$ray_folder/$name.yaml"
  command=(launch "$ray_folder/$name.yaml")
fi
[ -z "$stopping" ] || finish 75
say "adaptertune ${command[*]} on $nodes node(s)"
"$programs/adaptertune" "${command[@]}" --storage "$storage" --address "$address" &
driver=$!
[ -z "$stopping" ] || stop_driver "$stopping" "$killed_after_s" # it came while the driver started
while wait "$driver"; code=$?; kill -0 "$driver" 2>/dev/null; do :; done # a signal ends `wait`, too
wait "$driver" 2>/dev/null
final=$?
[ "$final" -eq 127 ] || code=$final
finish "$code"
