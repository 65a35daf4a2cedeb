// retagImage only moves the tag: checked, the outgoing image kept, undoable.
List own() {
    return ['to', 'reason', 'dryRun', 'accept', 'steal', 'noRecord', 'user']
}

Map call(Map args = [:]) {
    return rollbackCommand.act('retagImage', 'retag', args, own(), [])
}
