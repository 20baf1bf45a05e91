# Answers with the event it got.
handler() {
    printf '{"echo":%s}' "$1"
}
