# The same for every sweep from here on. SkyPilot runs this on each machine. Its own Ray is another one.
say() { echo "adaptertune job: $*" >&2; }
head_ip=$(head -n 1 <<<"$SKYPILOT_NODE_IPS")
address=$head_ip:$port
: "${RAY_AUTH_TOKEN:?is missing; launch the task with --secret RAY_AUTH_TOKEN}"
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness="${RAY_worker_niceness:-0}"
unset RAY_ADDRESS
answers() { (exec 3<>"/dev/tcp/$head_ip/$port") 2>/dev/null; }
ray_folder=$(mktemp -d /tmp/at-XXXXXXXX) || exit 1
ray_node() {
  exec ray start "$@" --temp-dir "$ray_folder" --num-cpus "$cpus" --num-gpus "$gpus" --disable-usage-stats --block
}

if [ "$SKYPILOT_NODE_RANK" -ne 0 ]; then
  deadline=$((SECONDS + wait_s))
  until answers; do
    [ "$SECONDS" -lt "$deadline" ] || {
      say "the head at $address did not answer within $wait_s s"
      exit 1
    }
    sleep 1
  done
  (ray_node --address "$address")
  code=$?
  rm -rf "$ray_folder"
  answers || exit 0 # the sweep has ended, and the head with it
  exit "$code"
fi

client=() # Ray Client is always started where there is grpc; where there is none, Ray refuses the option
if python -c 'import grpc' 2>/dev/null; then client=(--ray-client-server-port $((port + 1))); fi
(ray_node --head --port "$port" "${client[@]}" --include-dashboard false) >"$ray_folder/head.txt" 2>&1 &
head=$!
end_ray() {
  kill -TERM "$head" 2>/dev/null
  wait "$head"
  rm -rf "$ray_folder"
}
deadline=$((SECONDS + wait_s))
until answers; do
  if ! kill -0 "$head" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
    say "Ray did not start:"
    tail -n 30 "$ray_folder/head.txt" >&2
    exit 1
  fi
  sleep 1
done
python -P -m cluster.wait_for_nodes "$address" "$SKYPILOT_NUM_NODES" "$wait_s" || {
  end_ray
  exit 1
}
experiment=$ray_folder/$name.yaml
write_experiment >"$experiment"
(
