# The same for every sweep from here on.
# A new experiment is launched once. A later attempt of the same job finds its mark, and continues.
mark=$storage/jobs/$attempts_of.started
record=$storage/$name/ledger.jsonl
mkdir -p "$storage/jobs" || exit 1
if [ "$new" = 0 ] || { [ -e "$mark" ] && [ -e "$record" ]; }; then
  adaptertune resume "$name" --storage "$storage" --address "$address"
  exit
fi
touch "$mark" || exit 1
adaptertune launch "$experiment" --storage "$storage" --address "$address"
code=$?
# It was refused, maybe because the name is taken: a later attempt must not continue what others have recorded.
[ "$code" -ne 2 ] || rm -f "$mark"
exit "$code"
