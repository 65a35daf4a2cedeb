// rollbackDoctor checks every access without changing anything.
List own() {
    return []
}

Map call(Map args = [:]) {
    return rollbackCommand.look('rollbackDoctor', 'doctor', args, own())
}
