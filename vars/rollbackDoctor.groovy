// rollbackDoctor checks every access without changing anything.
List own() {
    return ['for']
}

Map call(Map args = [:]) {
    return rollbackCommand.look('rollbackDoctor', 'doctor', args, own())
}
