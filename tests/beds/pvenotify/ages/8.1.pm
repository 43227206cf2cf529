package PVE::Notify;

# As libpve-notify-perl 8.0.5 and 8.0.6 (Proxmox VE 8.1 and 8.2 until June 2024): title and text are templates.
use strict;
use warnings;

use PVE::NotifyBed ();

my $send_notification = sub {
    my ($severity, $title, $message, $template_data, $fields, $config) = @_;
    my %texts = ('subject.txt' => $title, 'body.txt' => $message, 'body.html' => $message);
    PVE::NotifyBed::send_rendered($severity, \%texts, $template_data, $fields);
};

sub notify {
    my ($severity, $title, $message, $template_data, $fields, $config) = @_;
    $send_notification->($severity, $title, $message, $template_data, $fields, $config);
}

1;
