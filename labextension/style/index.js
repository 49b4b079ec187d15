import './ui.css';
import './lab.css';
