"""Messages to people: made of the entries in the outbox, and handed over to Proxmox VE's notifications, to sendmail, and to programs of the node."""
