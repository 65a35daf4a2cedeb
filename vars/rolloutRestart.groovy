// rolloutRestart only restarts what pulls the moving tag, and waits until it serves.
List own() {
    return ['reason', 'dryRun', 'accept', 'steal', 'noRecord', 'user']
}

Map call(Map args = [:]) {
    return rollbackCommand.act('rolloutRestart', 'restart', args, own(), [])
}
