"""What all demos that a person drives share: commands, worlds that can be rewound, and a worker that computes."""
