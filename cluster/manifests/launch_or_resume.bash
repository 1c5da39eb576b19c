# The same for every sweep from here on.
# A new experiment is launched once. A later attempt of the same job finds the mark of an earlier one, and continues.
# The driver of that may still be alive on a node that is out of reach: it then stops, and this one takes over.
mark=$storage/jobs/$attempts_of.started
record=$storage/$name/ledger.jsonl
mkdir -p "$storage/jobs" || exit 1
this=$HOSTNAME-$$-$RANDOM
if [ -e "$mark" ] && [ -e "$record" ]; then
  echo "$this" >"$mark"
  adaptertune resume "$name" --take-over --storage "$storage" --address "$address"
  exit
fi
echo "$this" >"$mark" || exit 1
if [ "$new" = 0 ]; then
  adaptertune resume "$name" --storage "$storage" --address "$address"
else
  adaptertune launch "$experiment" --storage "$storage" --address "$address"
fi
code=$?
# It was refused, maybe because the name is taken or another driver runs: a later attempt must not continue what
# others have recorded. If it was taken over by a later attempt, the mark is that one's.
[ "$code" -ne 2 ] || [ "$(<"$mark")" != "$this" ] || rm -f "$mark"
exit "$code"
