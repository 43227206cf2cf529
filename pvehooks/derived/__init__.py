"""Pure views of the facts that rules, actions and the command line share."""
