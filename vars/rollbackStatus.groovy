// rollbackStatus returns what runs, and where the last rollback stands, as a Map of texts.
List own() {
    return ['tags']
}

Map call(Map args = [:]) {
    return rollbackCommand.look('rollbackStatus', 'status', args, own())
}
